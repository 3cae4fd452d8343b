//! Services: from a Service and its EndpointSlices to routes with verdicts.

mod table;

pub use table::{
    Frontend, FrontendAddress, FrontendKind, Pool, PoolEndpoint, PoolId, Reach, Route,
    ServiceTable, Source, Verdict,
};
