use crate::Error;
use crate::toolbox::answer::Form;

/// The ports of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Ports {
    /// HTTP port; repeatable
    #[arg(long, value_name = "PORT")]
    pub http: Vec<u16>,
    /// TCP port; repeatable. The connection stays open and echoes further lines
    #[arg(long, value_name = "PORT")]
    pub tcp: Vec<u16>,
    /// UDP port; repeatable
    #[arg(long, value_name = "PORT")]
    pub udp: Vec<u16>,
    /// SCTP port; repeatable
    #[arg(long, value_name = "PORT")]
    pub sctp: Vec<u16>,
    #[arg(skip)]
    pub(super) form: Form,
}

impl Ports {
    /// agnhost `netexec`; an SCTP port of 0 is none.
    pub(super) fn netexec(http: u16, udp: u16, sctp: u16) -> Self {
        Self {
            http: vec![http],
            udp: vec![udp],
            sctp: Some(sctp).filter(|&port| port != 0).into_iter().collect(),
            ..Self::default()
        }
    }

    /// agnhost `porter`: the ports are in the names of the variables.
    pub(super) fn porter(
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut ports = Self::default();
        for (name, _) in environment {
            let (list, number) = if let Some(number) = name.strip_prefix("SERVE_PORT_") {
                (&mut ports.http, number)
            } else if let Some(number) = name.strip_prefix("SERVE_SCTP_PORT_") {
                (&mut ports.sctp, number)
            } else {
                continue;
            };
            list.push(number.parse().map_err(|_| Error::Setting {
                setting: "environment variable",
                value: name.clone(),
                reason: "its name must end in a port".to_owned(),
            })?);
        }
        Ok(ports)
    }

    /// agnhost `serve-hostname`: HTTP where no protocol is named.
    pub(super) fn hostname(port: u16, http: bool, tcp: bool, udp: bool) -> Self {
        let ports = |wanted: bool| if wanted { vec![port] } else { Vec::new() };
        Self {
            http: ports(http || !(tcp || udp)),
            tcp: ports(tcp && !http),
            udp: ports(udp),
            sctp: Vec::new(),
            form: Form::Name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn porter_takes_its_ports_from_the_names_of_variables() {
        let environment = |names: &[&str]| {
            let pairs: Vec<_> = names
                .iter()
                .map(|&name| (name.to_owned(), "x".to_owned()))
                .collect();
            Ports::porter(pairs.into_iter())
        };
        let ports = environment(&[
            "SERVE_PORT_80",
            "PATH",
            "SERVE_SCTP_PORT_81",
            "SERVE_PORT_82",
        ]);
        let expected = Ports {
            http: vec![80, 82],
            sctp: vec![81],
            ..Ports::default()
        };
        assert_eq!(ports.unwrap(), expected);
        for name in ["SERVE_PORT_", "SERVE_PORT_http", "SERVE_PORT_70000"] {
            assert!(environment(&[name]).is_err(), "{name} was accepted");
        }
    }

    #[test]
    fn serve_hostname_serves_http_unless_told_otherwise() {
        for (http, tcp, udp, expected) in [
            (false, false, false, (1, 0, 0)),
            (true, false, false, (1, 0, 0)),
            (false, true, false, (0, 1, 0)),
            (false, false, true, (0, 0, 1)),
            (true, false, true, (1, 0, 1)),
        ] {
            let ports = Ports::hostname(9376, http, tcp, udp);
            let counts = (ports.http.len(), ports.tcp.len(), ports.udp.len());
            assert_eq!(counts, expected, "http {http} tcp {tcp} udp {udp}");
        }
    }
}
