//! Readiness probes.

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
use tokio::time::{sleep, timeout};

use crate::kubelet::run;
use crate::process::Process;

/// What a probe needs to know of its container.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) container: Container,
    pub(crate) probe: Probe,
    pub(crate) process: Process,
    /// The pod's first address.
    pub(crate) address: IpAddr,
}

/// A container that has never been ready is probed more often than its period
/// says: a server that needs 20 ms to listen is not kept waiting for 10 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Probes until the future is dropped, and tells `report` each change of the
/// verdict, the first failure included, with the probe's own words.
pub(crate) async fn watch(probed: Probed, ready_before: bool, report: impl Fn(bool, String)) {
    let seconds = |value: Option<i32>, default: u64| {
        let value = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_secs(value.filter(|&value| value > 0).unwrap_or(default))
    };
    let probe = &probed.probe;
    let count = |value: Option<i32>, default| value.filter(|&value| value > 0).unwrap_or(default);
    let (successes, failures) = (
        count(probe.success_threshold, 1),
        count(probe.failure_threshold, 3),
    );
    let period = seconds(probe.period_seconds, 10);
    let limit = seconds(probe.timeout_seconds, 1);
    if !ready_before {
        sleep(seconds(probe.initial_delay_seconds, 0)).await;
    }
    let mut ready = ready_before;
    let mut told = false;
    let mut contrary = 0;
    let mut pause = if ready { period } else { FIRST_PAUSE };
    loop {
        let result = match timeout(limit, once(&probed)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer in {} s", limit.as_secs())),
        };
        let good = result.is_ok();
        contrary = if good == ready { 0 } else { contrary + 1 };
        if contrary >= if good { successes } else { failures } {
            ready = good;
            contrary = 0;
            told = true;
            pause = period;
            report(ready, result.err().unwrap_or_default());
        } else if let Err(words) = result
            && !told
        {
            told = true;
            report(ready, words);
        }
        sleep(pause).await;
        pause = period.min(pause * 2);
    }
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
