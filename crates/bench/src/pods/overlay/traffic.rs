//! TCP from a pod of one node to a pod of another.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use podway_kernel::netns::NetNs;

use super::site::{SERVER, Site};
use crate::measure::time;

const PORT: u16 = 80;
const CHUNK: usize = 256 << 10;
/// What a client says first: everything that follows is swallowed, or echoed.
const SWALLOW: u8 = b's';
const ECHO: u8 = b'e';

/// A site with a server in its second pod.
pub(super) struct Traffic<'a> {
    client: &'a NetNs,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(site: &'a Site) -> anyhow::Result<Self> {
        let listener = site.server.run(|| TcpListener::bind(("::", PORT)))??;
        // Ends with the process: nobody connects any more.
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                thread::spawn(move || serve(stream));
            }
        });
        let traffic = Self {
            client: &site.client,
        };
        // Everything is resolved, and the window has been large once.
        traffic.stream(8 << 20).context("no way between the pods")?;
        Ok(traffic)
    }

    /// How long so many bytes take.
    pub(super) fn stream(&self, bytes: u64) -> anyhow::Result<Duration> {
        let mut stream = self.connect(SWALLOW)?;
        let chunk = vec![7; CHUNK];
        let (taken, outcome) = time(|| -> std::io::Result<()> {
            let mut sent = 0;
            while sent < bytes {
                stream.write_all(&chunk)?;
                sent += CHUNK as u64;
            }
            stream.shutdown(Shutdown::Write)?;
            stream.read_exact(&mut [0])
        });
        outcome?;
        Ok(taken)
    }

    /// How long so many questions of one byte and their answers take.
    pub(super) fn round_trips(&self, count: u32) -> anyhow::Result<Duration> {
        let mut stream = self.connect(ECHO)?;
        let (taken, outcome) = time(|| -> std::io::Result<()> {
            for _ in 0..count {
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])?;
            }
            Ok(())
        });
        outcome?;
        Ok(taken)
    }

    fn connect(&self, what: u8) -> anyhow::Result<TcpStream> {
        let to = SocketAddr::new(SERVER.into(), PORT);
        let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(10));
        let mut stream = self.client.run(connect)??;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(&[what])?;
        Ok(stream)
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut what = [0];
    stream.read_exact(&mut what)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        if what == [ECHO] {
            stream.write_all(&chunk[..length])?;
        }
    }
    stream.write_all(b".")
}
