//! `podway toolbox` in a network namespace of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::gethostname;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, Rtnetlink};
use podway_kernel::spawn::Isolation;

use crate::fixture::{eventually, program, require_root};

/// A namespace with `lo` up, and a process in it that ends with this value.
struct Bench {
    namespace: NetNs,
    server: Option<Child>,
}

impl Bench {
    fn new() -> Self {
        require_root();
        let namespace = NetNs::anonymous().unwrap();
        let mut links = Rtnetlink::open_in(&namespace).unwrap();
        let loopback = links.link("lo").unwrap().unwrap();
        links
            .change_link(loopback.index, &LinkChange::new().up())
            .unwrap();
        Self {
            namespace,
            server: None,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("toolbox").args(words);
        let namespace = std::os::fd::AsFd::as_fd(&self.namespace)
            .try_clone_to_owned()
            .unwrap();
        Isolation::new().join(namespace).apply(&mut command);
        command
    }

    fn serve(mut self, words: &[&str], environment: &[(&str, &str)], ready: &str) -> Self {
        let mut command = self.command(words);
        self.server = Some(command.envs(environment.iter().copied()).spawn().unwrap());
        eventually("a server", || self.connect(ready, "tcp").0 == "OK");
        self
    }

    /// The word that `connect` says, and its exit code.
    fn connect(&self, target: &str, protocol: &str) -> (String, Option<i32>) {
        let words = ["connect", target, "--protocol", protocol, "--timeout", "1s"];
        let output = self.command(&words).stderr(Stdio::null()).output().unwrap();
        (
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            output.status.code(),
        )
    }

    fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(f).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn hostname() -> String {
    gethostname().unwrap().into_string().unwrap()
}

#[test]
fn a_server_answers_with_its_name_and_the_client_in_both_families() {
    let words = [
        "serve", "--http", "80", "--tcp", "81", "--udp", "82", "--udp", "83",
    ];
    let bench = Bench::new().serve(&words, &[], "127.0.0.1:81");
    let name = hostname();
    for host in ["127.0.0.1", "[::1]"] {
        let at = |port: u16| format!("{host}:{port}").parse::<SocketAddr>().unwrap();
        let (line, echoed, client) = bench.inside(|| {
            let mut stream = TcpStream::connect(at(81)).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut echoed) = (String::new(), String::new());
            reader.read_line(&mut line).unwrap();
            stream.write_all(b"still there?\n").unwrap();
            reader.read_line(&mut echoed).unwrap();
            (line, echoed, stream.local_addr().unwrap())
        });
        assert_eq!(
            (line, echoed.as_str()),
            (format!("{name} {client}\n"), "still there?\n")
        );
        let (answer, client) = bench.inside(|| {
            let mut stream = TcpStream::connect(at(80)).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            (answer, stream.local_addr().unwrap())
        });
        assert!(
            answer.ends_with(&format!("\r\n\r\n{name} {client}\n")),
            "{answer}"
        );
        for port in [82, 83] {
            let (answer, client) = bench.inside(|| ask(at(port)));
            assert_eq!(answer, format!("{name} {client}\n"), "UDP {port}");
        }
    }
}

/// One datagram's answer, from exactly the address that was asked.
fn ask(server: SocketAddr) -> (String, SocketAddr) {
    let any: SocketAddr = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
    .parse()
    .unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket.connect(server).unwrap();
    socket.send(b"who?").unwrap();
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).unwrap();
    (
        String::from_utf8_lossy(&buffer[..length]).into_owned(),
        socket.local_addr().unwrap(),
    )
}

#[test]
fn a_datagram_is_answered_from_the_address_that_it_was_sent_to() {
    let bench = Bench::new().serve(
        &["serve", "--tcp", "81", "--udp", "82"],
        &[],
        "127.0.0.1:81",
    );
    // 127.0.0.2 is another address of the same host: the route back would
    // choose 127.0.0.1, which a connected socket does not accept.
    let (answer, _) = bench.inside(|| ask("127.0.0.2:82".parse().unwrap()));
    assert!(answer.starts_with(&hostname()), "{answer}");
}

#[test]
fn connect_says_one_word() {
    let bench = Bench::new().serve(
        &["serve", "--tcp", "81", "--udp", "82"],
        &[],
        "127.0.0.1:81",
    );
    for (target, protocol, word) in [
        ("127.0.0.1:81", "tcp", "OK"),
        ("[::1]:81", "tcp", "OK"),
        ("localhost:82", "udp", "OK"),
        ("127.0.0.1:84", "tcp", "REFUSED"),
        ("[::1]:84", "udp", "REFUSED"),
        ("192.0.2.1:80", "tcp", "OTHER"),
        ("127.0.0.1:99999", "tcp", "OTHER"),
    ] {
        let code = i32::from(word != "OK");
        let found = bench.connect(target, protocol);
        assert_eq!(found, (word.to_owned(), Some(code)), "{protocol} {target}");
    }
    // A listener whose queue is full and that accepts nobody keeps silent.
    let silent = bench.inside(|| UdpSocket::bind("127.0.0.1:85").unwrap());
    assert_eq!(
        bench.connect("127.0.0.1:85", "udp"),
        ("TIMEOUT".to_owned(), Some(1))
    );
    drop(silent);
}

#[test]
fn agnhost_spellings_serve() {
    let netexec = Bench::new().serve(&["netexec", "--http-port=8000"], &[], "127.0.0.1:8000");
    assert_eq!(netexec.connect("127.0.0.1:8081", "udp").0, "OK");
    let porter = Bench::new();
    let porter = porter.serve(&["porter"], &[("SERVE_PORT_8085", "x")], "[::1]:8085");
    assert_eq!(porter.connect("127.0.0.1:8086", "tcp").0, "REFUSED");
    let name = Bench::new().serve(&["serve-hostname", "--tcp", "--udp"], &[], "127.0.0.1:9376");
    let (answer, _) = name.inside(|| ask("[::1]:9376".parse().unwrap()));
    assert_eq!(answer, hostname());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let bench = Bench::new().serve(&["serve", "--tcp", "81"], &[], "127.0.0.1:81");
    let output = bench.command(&["serve", "--tcp", "81"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("tcp port 81"),
        "{error}"
    );
}

#[test]
fn pause_ends_with_zero_on_sigterm() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let mut bench = Bench::new();
    let pause = bench.command(&["pause"]).spawn().unwrap();
    let pid = pause.id();
    bench.server = Some(pause);
    let waiting = format!("{} ", nix::libc::SYS_rt_sigtimedwait);
    eventually("a process that waits for signals", || {
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall"));
        call.is_ok_and(|call| call.starts_with(&waiting))
    });
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    let status = bench.server.as_mut().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(0));
}
