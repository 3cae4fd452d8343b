//! BGP as a peer sees it.

mod codec;
mod errors;
mod oracle;
mod rib_out;
mod session;
