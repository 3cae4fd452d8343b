//! Startup, liveness and readiness probes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::kubelet::run;
use crate::process::Process;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The others wait for it; a container that takes too long is ended.
    Startup,
    /// A container that fails it is ended.
    Liveness,
    /// A container that fails it gets no traffic.
    Readiness,
}

impl Purpose {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) purpose: Purpose,
    pub(crate) good: bool,
    /// Whether it stands, and is not only the first bad answer.
    pub(crate) settled: bool,
    /// Why not good.
    pub(crate) words: String,
}

/// What a probe needs to know of its container.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) container: Container,
    pub(crate) purpose: Purpose,
    pub(crate) probe: Probe,
    pub(crate) process: Process,
    /// The pod's first address.
    pub(crate) address: IpAddr,
}

/// A container that has never been ready is probed more often than its period
/// says: a server that needs 20 ms to listen is not kept waiting for 10 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The numbers of a probe, where it says nothing those of Kubernetes.
struct Pace {
    delay: Duration,
    period: Duration,
    limit: Duration,
    successes: u32,
    failures: u32,
}

impl Pace {
    fn of(probe: &Probe) -> Self {
        let number = |value: Option<i32>, default: u32| {
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.filter(|&value| value > 0).unwrap_or(default)
        };
        let seconds = |value, default| Duration::from_secs(u64::from(number(value, default)));
        Self {
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            limit: seconds(probe.timeout_seconds, 1),
            successes: number(probe.success_threshold, 1),
            failures: number(probe.failure_threshold, 3),
        }
    }
}

impl Probed {
    /// A container's probe; `None` if it has none of that purpose.
    pub(crate) fn new(
        purpose: Purpose,
        container: &Container,
        process: Process,
        address: IpAddr,
    ) -> Option<Self> {
        Some(Self {
            purpose,
            probe: purpose.of(container)?.clone(),
            container: container.clone(),
            process,
            address,
        })
    }

    fn verdict(&self, good: bool, settled: bool, words: String) -> Verdict {
        Verdict {
            purpose: self.purpose,
            good,
            settled,
            words,
        }
    }
}

/// Probes until the future is dropped (a startup probe: until it has its verdict)
/// and tells `report` each change of the verdict, and the first bad answer.
/// `good` is the verdict to begin with: of a container that was ready before.
pub(crate) async fn watch(probed: Probed, good: bool, report: impl Fn(Verdict)) {
    let pace = Pace::of(&probed.probe);
    let known = good && probed.purpose == Purpose::Readiness;
    if !known {
        sleep(pace.delay).await;
    }
    match probed.purpose {
        Purpose::Startup => startup(&probed, &pace, report).await,
        // A container lives until it is found dead.
        Purpose::Liveness => follow(&probed, &pace, true, report).await,
        Purpose::Readiness => follow(&probed, &pace, known, report).await,
    }
}

/// A container has as much time to start as its probe may fail.
async fn startup(probed: &Probed, pace: &Pace, report: impl Fn(Verdict)) {
    let begun = Instant::now();
    let patience = pace.period.saturating_mul(pace.failures);
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let Err(words) = attempt(probed, pace).await else {
            return report(probed.verdict(true, true, String::new()));
        };
        let over = begun.elapsed() >= patience;
        if over || !told {
            told = true;
            report(probed.verdict(false, over, words));
        }
        if over {
            return;
        }
        sleep(pause).await;
        pause = pace.period.min(pause * 2);
    }
}

async fn follow(probed: &Probed, pace: &Pace, good_before: bool, report: impl Fn(Verdict)) {
    let mut good = good_before;
    let mut told = false;
    let mut contrary = 0;
    let mut pause = if good { pace.period } else { FIRST_PAUSE };
    loop {
        let result = attempt(probed, pace).await;
        let answer = result.is_ok();
        contrary = if answer == good { 0 } else { contrary + 1 };
        if contrary
            >= if answer {
                pace.successes
            } else {
                pace.failures
            }
        {
            good = answer;
            contrary = 0;
            told = true;
            pause = pace.period;
            report(probed.verdict(good, true, result.err().unwrap_or_default()));
        } else if let Err(words) = result
            && !told
        {
            told = true;
            report(probed.verdict(false, false, words));
        }
        sleep(pause).await;
        pause = pace.period.min(pause * 2);
    }
}

async fn attempt(probed: &Probed, pace: &Pace) -> Result<(), String> {
    let late = || format!("no answer in {} s", pace.limit.as_secs());
    let answer = timeout(pace.limit, once(probed)).await;
    answer.unwrap_or_else(|_| Err(late()))
}

async fn once(probed: &Probed) -> Result<(), String> {
    let probe = &probed.probe;
    if let Some(exec) = &probe.exec {
        return command(probed.process, exec.command.as_deref().unwrap_or_default()).await;
    }
    if let Some(get) = &probe.http_get {
        return http(probed, get).await;
    }
    if let Some(tcp) = &probe.tcp_socket {
        let address = target(probed, tcp.host.as_deref(), &tcp.port)?;
        let connected = TcpStream::connect(address).await;
        return connected
            .map(drop)
            .map_err(|error| format!("{address}: {error}"));
    }
    Err("the lab knows exec, httpGet and tcpSocket probes only".to_owned())
}

async fn command(process: Process, words: &[String]) -> Result<(), String> {
    let run = || -> io::Result<_> {
        let (mut command, isolation) = run::beside(process, words)?;
        isolation.apply(&mut command);
        let mut command = tokio::process::Command::from(command);
        command
            .kill_on_drop(true)
            .stdin(std::process::Stdio::null());
        Ok(command)
    };
    let output = match run() {
        Ok(mut command) => command.output().await,
        Err(error) => Err(error),
    };
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!("{}: {}", output.status, said.trim()))
}

async fn http(probed: &Probed, get: &HTTPGetAction) -> Result<(), String> {
    if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
        return Err("the lab probes with scheme HTTP only".to_owned());
    }
    let address = target(probed, get.host.as_deref(), &get.port)?;
    let path = get
        .path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    let mut request = Request::get(path).header(header::USER_AGENT, "kube-probe/podway");
    let mut host = address.to_string();
    for named in get.http_headers.iter().flatten() {
        if named.name.eq_ignore_ascii_case("host") {
            host.clone_from(&named.value);
        } else {
            request = request.header(&named.name, &named.value);
        }
    }
    let request = request.header(header::HOST, host).body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let failed = |error: &dyn std::error::Error| format!("http://{address}{path}: {error}");
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let exchange = async move { sender.send_request(request).await };
    // The connection has to be driven while the answer is awaited; it is
    // dropped with the answer's body, of which only the status counts.
    let answer = tokio::select! {
        answer = exchange => answer,
        ended = connection => match ended {
            Ok(()) => return Err(format!("http://{address}{path}: closed without an answer")),
            Err(error) => Err(error),
        },
    };
    let status = answer.map_err(|error| failed(&error))?.status();
    if (200..400).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(format!(
            "http://{address}{path}: status {}",
            status.as_u16()
        ))
    }
}

fn target(probed: &Probed, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
    let address = match host.filter(|host| !host.is_empty()) {
        Some(host) => host
            .parse()
            .map_err(|_| format!("host {host:?} is no address"))?,
        None => probed.address,
    };
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => probed
            .container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .map(|port| port.container_port),
    };
    let number = number.and_then(|number| u16::try_from(number).ok());
    let number = number.ok_or_else(|| format!("port {port:?} is no port of the container"))?;
    Ok(SocketAddr::new(address, number))
}
