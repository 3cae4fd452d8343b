//! An API server that knows services and their slices, and tells watches what it
//! is told to. What it lists is made up as it is asked for, so that it takes no
//! memory of its own.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// The lists that the agent asks for: path, kind, and whether there is one object
/// for each service.
const LISTS: &[(&str, &str, bool)] = &[
    ("/api/v1/services", "Service", true),
    (SLICES, "EndpointSlice", true),
    ("/api/v1/namespaces", "Namespace", false),
    ("/api/v1/nodes", "Node", false),
    ("/api/v1/pods", "Pod", false),
    (
        "/apis/networking.k8s.io/v1/networkpolicies",
        "NetworkPolicy",
        false,
    ),
];

/// The server; its threads end with the process.
pub(super) struct Api {
    pub(super) address: SocketAddr,
    watches: Watches,
}

/// The connections that watch slices.
type Watches = Arc<Mutex<Vec<TcpStream>>>;

impl Api {
    /// Serves this many services in the calling thread's network namespace.
    pub(super) fn serve(services: u32) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let watches = Watches::default();
        let shared = watches.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let watches = shared.clone();
                // A connection that breaks is the client's to open again.
                thread::spawn(move || answer_all(stream, services, &watches));
            }
        });
        Ok(Self { address, watches })
    }

    /// Tells everybody who watches slices of this one.
    pub(super) fn tell(&self, number: u32, endpoint: u32, revision: u32) -> io::Result<()> {
        let object = slice(number, endpoint, revision);
        let event = format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n");
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter_mut() {
            watch.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        }
        Ok(())
    }

    /// Whether somebody watches slices.
    pub(super) fn is_watched(&self) -> bool {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        !watches.is_empty()
    }
}

/// Answers one request after another.
fn answer_all(stream: TcpStream, services: u32, watches: &Watches) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some((path, query)) = read_request(&mut requests)? {
        let known = LISTS.iter().find(|(list, ..)| *list == path);
        let Some((_, kind, is_counted)) = known else {
            respond(&mut stream, "404 Not Found", NOT_FOUND)?;
            continue;
        };
        if query.split('&').any(|part| part == "watch=true") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
            if path == SLICES {
                let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
                watches.push(stream.try_clone()?);
            }
            continue;
        }
        let count = if *is_counted { services } else { 0 };
        respond(&mut stream, "200 OK", &list(kind, count, &query))?;
    }
    Ok(())
}

/// Path and query of a request, whose body is read over.
fn read_request(requests: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let mut line = String::new();
    if requests.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let target = (path.to_owned(), query.to_owned());
    let mut length = 0;
    loop {
        line.clear();
        requests.read_line(&mut line)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(number) = header.strip_prefix("content-length:") {
            length = number.trim().parse().unwrap_or(0);
        }
    }
    io::copy(&mut requests.take(length), &mut io::sink())?;
    Ok(Some(target))
}

const NOT_FOUND: &str =
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;

fn respond(stream: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// One page of a list.
fn list(kind: &str, count: u32, query: &str) -> String {
    let number = |key: &str, default: u32| {
        let mut values = query.split('&').filter_map(|part| part.strip_prefix(key));
        values
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let first = number("continue=", 0);
    let end = first.saturating_add(number("limit=", count)).min(count);
    let next = if end < count {
        format!(",\"continue\":\"{end}\"")
    } else {
        String::new()
    };
    let (group, make): (&str, fn(u32) -> String) = match kind {
        "EndpointSlice" => ("discovery.k8s.io/v1", |number| slice(number, 0, 1)),
        "NetworkPolicy" => ("networking.k8s.io/v1", |_| String::new()),
        _ => ("v1", service),
    };
    let mut text = format!(
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{group}\",\"metadata\":{{\"resourceVersion\":\"1\"{next}}},\"items\":["
    );
    for place in first..end {
        let comma = if place == first { "" } else { "," };
        let _ = write!(text, "{comma}{}", make(place));
    }
    text + "]}"
}

/// A service as a cluster has it, with what the API server fills in.
fn service(number: u32) -> String {
    let address = address(11, number);
    format!(
        "{{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"service-{number}\",\"namespace\":\"bench\",\
         \"uid\":\"00000000-0000-4000-8000-{number:012}\",\"resourceVersion\":\"1\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\",\
         \"labels\":{{\"app\":\"app-{number}\"}}}},\"spec\":{{\"type\":\"ClusterIP\",\"clusterIP\":\"{address}\",\"clusterIPs\":[\"{address}\"],\
         \"ipFamilies\":[\"IPv4\"],\"ipFamilyPolicy\":\"SingleStack\",\"internalTrafficPolicy\":\"Cluster\",\"sessionAffinity\":\"None\",\
         \"selector\":{{\"app\":\"app-{number}\"}},\"ports\":[{{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\",\"targetPort\":8080}}]}},\
         \"status\":{{\"loadBalancer\":{{}}}}}}"
    )
}

/// Its slice of two endpoints, of which the second is this one.
fn slice(number: u32, endpoint: u32, revision: u32) -> String {
    let one = |place: u32| {
        let address = address(12, number * 8 + place);
        format!(
            "{{\"addresses\":[\"{address}\"],\"conditions\":{{\"ready\":true,\"serving\":true,\"terminating\":false}},\"nodeName\":\"node2\",\
             \"targetRef\":{{\"kind\":\"Pod\",\"namespace\":\"bench\",\"name\":\"app-{number}-{place}\",\"uid\":\"00000000-0000-4000-9000-{number:012}\"}}}}"
        )
    };
    format!(
        "{{\"kind\":\"EndpointSlice\",\"apiVersion\":\"discovery.k8s.io/v1\",\"metadata\":{{\"name\":\"service-{number}-abcde\",\
         \"generateName\":\"service-{number}-\",\"namespace\":\"bench\",\"uid\":\"00000000-0000-4000-a000-{number:012}\",\"resourceVersion\":\"{revision}\",\
         \"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{{\"kubernetes.io/service-name\":\"service-{number}\",\
         \"endpointslice.kubernetes.io/managed-by\":\"endpointslice-controller.k8s.io\"}}}},\"addressType\":\"IPv4\",\
         \"endpoints\":[{},{}],\"ports\":[{{\"name\":\"http\",\"port\":8080,\"protocol\":\"TCP\"}}]}}",
        one(0),
        one(1 + endpoint)
    )
}

/// The address at this place of `first`.0.0.0/8.
fn address(first: u32, place: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits((first << 24) + place)
}
