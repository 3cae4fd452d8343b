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
pub use context::{Interfaces, NodeContext};
pub use decide::{Decision, Destination, DropReason, Outcome, Packet, RejectReason, decide};
pub use plan::{ServicePlan, WithoutLocal, plan_service};
pub use planner::{Conflict, ServicePlanner, Totals};
pub use table::{
    Frontend, FrontendAddress, FrontendKind, HealthCheck, Lingering, Pool, PoolEndpoint, PoolId,
    PortId, Reach, Route, ServiceTable, Source, Verdict,
};
