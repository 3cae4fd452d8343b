use std::net::SocketAddr;

/// What a server of the toolbox says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answerer {
    /// The pod's host name.
    pub(super) hostname: String,
    /// The form of the answer where a request does not ask for one.
    pub(super) form: Form,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// `HOSTNAME CLIENT:PORT`.
    #[default]
    Line,
    /// The host name alone, without a newline: agnhost's `serve-hostname`.
    Name,
}

impl Answerer {
    /// The answer to a client that asks for nothing in particular.
    pub(super) fn line(&self, client: SocketAddr) -> String {
        match self.form {
            Form::Line => format!("{} {}\n", self.hostname, seen(client)),
            Form::Name => self.hostname.clone(),
        }
    }

    /// The answer to an HTTP request, with its status code. The paths are
    /// agnhost's; every other one gets the line.
    pub(super) fn http(&self, path: &str, query: &str, client: SocketAddr) -> (u16, String) {
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let code = parameter("code").map_or(Some(200), |code| code.parse().ok());
        let body = match path {
            "/hostname" | "/hostName" => self.hostname.clone(),
            "/clientip" => seen(client).to_string(),
            "/healthz" | "/readyz" => "ok".to_owned(),
            "/echo" => parameter("msg").unwrap_or_default().to_owned(),
            _ => return (200, self.line(client)),
        };
        match code.filter(|code| (200..600).contains(code)) {
            Some(code) => (code, body),
            None => (400, "code: a number from 200 to 599\n".to_owned()),
        }
    }

    /// The answer to a datagram. The commands are agnhost's; everything else
    /// gets the line.
    pub(super) fn datagram(&self, request: &[u8], client: SocketAddr) -> Vec<u8> {
        let text = request.trim_ascii();
        if text.eq_ignore_ascii_case(b"clientip") {
            return seen(client).to_string().into_bytes();
        }
        match text.strip_prefix(b"echo ") {
            Some(message) => message.to_vec(),
            None => self.line(client).into_bytes(),
        }
    }
}

/// The client as it would have been seen by a socket of its own family: on a
/// dual-stack socket an IPv4 client has an address in `::ffff:0:0/96`.
fn seen(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_the_pod_and_the_client() {
        let line = Answerer {
            hostname: "web-1".to_owned(),
            form: Form::Line,
        };
        let name = Answerer {
            form: Form::Name,
            ..line.clone()
        };
        let v4: SocketAddr = "[::ffff:172.16.0.250]:4000".parse().unwrap();
        let v6: SocketAddr = "[fd00::fa]:4000".parse().unwrap();
        assert_eq!(line.line(v4), "web-1 172.16.0.250:4000\n");
        assert_eq!(line.line(v6), "web-1 [fd00::fa]:4000\n");
        assert_eq!(name.line(v4), "web-1");
        for (path, query, code, body) in [
            ("/", "", 200, "web-1 172.16.0.250:4000\n"),
            ("/any", "code=500", 200, "web-1 172.16.0.250:4000\n"),
            ("/hostname", "", 200, "web-1"),
            ("/clientip", "", 200, "172.16.0.250:4000"),
            ("/echo", "msg=hello&code=503", 503, "hello"),
            ("/echo", "code=99", 400, "code: a number from 200 to 599\n"),
            ("/echo", "code=x", 400, "code: a number from 200 to 599\n"),
        ] {
            let answer = line.http(path, query, v4);
            assert_eq!(answer, (code, body.to_owned()), "{path}?{query}");
        }
        assert_eq!(line.datagram(b"hi", v4), b"web-1 172.16.0.250:4000\n");
        assert_eq!(line.datagram(b"clientip\n", v4), b"172.16.0.250:4000");
        assert_eq!(line.datagram(b"echo a b\n", v4), b"a b");
    }
}
