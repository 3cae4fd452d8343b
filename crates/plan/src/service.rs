//! Services: from a Service and its EndpointSlices to routes with verdicts.
//!
//! [`plan_service`] decides one Service, [`ServicePlanner`] keeps the table of
//! all of them, and [`decide`] says what the table makes of a packet.

mod change;
mod context;
mod decide;
mod plan;
mod planner;
mod selection;
mod table;

pub use change::{Delta, ServiceChange, apply, diff};
pub use context::NodeContext;
pub use decide::{Decision, Destination, DropReason, Outcome, Packet, RejectReason, decide};
pub use plan::{ServicePlan, plan_service};
pub use planner::{Conflict, ServicePlanner};
pub use table::{
    Frontend, FrontendAddress, FrontendKind, Pool, PoolEndpoint, PoolId, Reach, Route,
    ServiceTable, Source, Verdict,
};
