use crate::Error;

/// The ports of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Ports {
    /// HTTP ports
    #[arg(long)]
    pub http: Vec<u16>,
    /// TCP ports
    #[arg(long)]
    pub tcp: Vec<u16>,
    /// UDP ports
    #[arg(long)]
    pub udp: Vec<u16>,
    /// SCTP ports
    #[arg(long)]
    pub sctp: Vec<u16>,
    /// Answer with the host name alone
    #[arg(long)]
    pub name_only: bool,
}

impl Ports {
    pub(super) fn netexec(http: u16, udp: u16, sctp: u16) -> Self {
        let _ = (http, udp, sctp);
        Self::default()
    }
    pub(super) fn porter(_: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        Ok(Self::default())
    }
    pub(super) fn hostname(_: u16, _: bool, _: bool, _: bool) -> Self {
        Self::default()
    }
}

pub(super) fn run(_: &Ports) -> Result<u8, Error> {
    Ok(0)
}
