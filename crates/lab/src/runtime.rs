//! The event loop of verbs and small processes.

use std::future::Future;

use crate::Error;

/// Runs `work` to its end, on this thread alone.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the event loop"))?
        .block_on(work)
}
