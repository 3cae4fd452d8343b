use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use super::script::{joined, write_joined};
use super::variant::choose;
use super::{Chains, Error, Family, Iptables, Script, Table, Variant, Written, saved};
use crate::netns::NetNs;

/// How many seconds a program waits for the lock that legacy programs share.
const LOCK_SECONDS: &str = "5";

/// How many lines the nf_tables variant is given at a time: what it does grows
/// with the square of the chains that a text names (measured: 110,000 lines take
/// 38 s at once and 2 s in parts of this size).
const LINES_AT_A_TIME: usize = 2_000;

/// The programs of the host, run in one network namespace.
#[derive(Debug, Clone)]
pub struct Xtables {
    namespace: Arc<NetNs>,
    families: &'static [Family],
    variant: Variant,
    /// What stands between `iptables` and `-restore`: `-nft`, `-legacy`, or
    /// nothing where the host names no variants.
    infix: &'static str,
}

impl Xtables {
    /// The variant that the host uses, in the calling thread's network
    /// namespace.
    ///
    /// # Errors
    /// [`Error::Missing`] where the host has no iptables.
    pub fn open() -> Result<Self, Error> {
        let namespace = Arc::new(NetNs::current()?);
        let default = host_default(&namespace)?;
        let of = |variant| Self::with(namespace.clone(), variant);
        let chosen = match of(default.other()) {
            Ok(_) => choose(
                default,
                |variant, signs| of(variant)?.has_mangle_chain(signs),
                |variant| of(variant)?.has_rules(),
            )?,
            // There is nothing to choose from.
            Err(Error::Missing { .. }) => default,
            Err(error) => return Err(error),
        };
        of(chosen)
    }

    /// One variant, in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Missing`] where the host does not have it.
    pub fn open_variant(variant: Variant) -> Result<Self, Error> {
        Self::with(Arc::new(NetNs::current()?), variant)
    }

    /// Which variant it is.
    #[must_use]
    pub const fn variant(&self) -> Variant {
        self.variant
    }

    fn with(namespace: Arc<NetNs>, variant: Variant) -> Result<Self, Error> {
        let infix = match variant {
            Variant::Nft => "-nft",
            Variant::Legacy => "-legacy",
        };
        let has_ipv6 = namespace.run(|| Path::new("/proc/thread-self/net/if_inet6").exists())?;
        let named = Self {
            namespace,
            families: if has_ipv6 {
                &Family::ALL
            } else {
                &[Family::V4]
            },
            variant,
            infix,
        };
        match version(&named.namespace, &named.program(Family::V4, "")) {
            Ok(_) => Ok(named),
            Err(missing @ Error::Missing { .. }) => {
                // Before 1.8 there was one variant, and its name had no infix.
                let plain = Self { infix: "", ..named };
                match host_default(&plain.namespace) {
                    Ok(default) if default == variant => Ok(plain),
                    _ => Err(missing),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn program(&self, family: Family, verb: &str) -> String {
        let name = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("{name}{}{verb}", self.infix)
    }

    fn has_mangle_chain(&self, names: &[&str]) -> Result<bool, Error> {
        for family in self.families.iter().copied() {
            if self.variant == Variant::Legacy && !self.has_legacy_table(family, Table::Mangle)? {
                continue;
            }
            for name in names {
                // Of one chain: a listing of all would read every table.
                let arguments = ["-w", LOCK_SECONDS, "-t", "mangle", "-S", name];
                match run(&self.namespace, &self.program(family, ""), &arguments, &[]) {
                    Ok(_) => return Ok(true),
                    Err(Error::Failed { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(false)
    }

    fn has_rules(&self) -> Result<bool, Error> {
        for family in self.families.iter().copied() {
            let tables = self.read(family)?;
            if tables
                .values()
                .flat_map(Chains::values)
                .any(|rules| !rules.is_empty())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every table: without a name the programs make none, and one run reads as
    /// much as a run for one table would.
    fn read(&self, family: Family) -> Result<BTreeMap<Table, Chains>, Error> {
        let output = run(&self.namespace, &self.program(family, "-save"), &[], &[])?;
        Ok(saved::parse(&text(&output.stdout)))
    }

    /// Asking a legacy program about a table makes it: its hooks would cost
    /// every packet a little from then on.
    fn has_legacy_table(&self, family: Family, table: Table) -> Result<bool, Error> {
        let list = match family {
            Family::V4 => "/proc/thread-self/net/ip_tables_names",
            Family::V6 => "/proc/thread-self/net/ip6_tables_names",
        };
        match self.namespace.run(|| fs::read_to_string(list))? {
            Ok(names) => Ok(names.lines().any(|name| name == table.name())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Run {
                program: list.into(),
                source,
            }),
        }
    }

    /// Scripts that are written together.
    fn parts<'s>(&self, scripts: &'s [Script]) -> Vec<&'s [Script]> {
        if self.variant == Variant::Legacy {
            // Each run reads and writes whole tables, whatever is in it.
            return vec![scripts];
        }
        let mut parts = Vec::new();
        let (mut begin, mut lines) = (0, 0);
        for (index, script) in scripts.iter().enumerate() {
            if lines > 0 && lines + script.lines() > LINES_AT_A_TIME {
                parts.push(&scripts[begin..index]);
                (begin, lines) = (index, 0);
            }
            lines += script.lines();
        }
        parts.push(&scripts[begin..]);
        parts
    }
}

impl Iptables for Xtables {
    fn families(&self) -> &[Family] {
        self.families
    }

    fn save(&mut self, family: Family) -> Result<BTreeMap<Table, Chains>, Error> {
        self.read(family)
    }

    fn restore(&mut self, family: Family, scripts: &[Script]) -> Result<Written, Error> {
        let program = self.program(family, "-restore");
        let arguments = ["--noflush", "--counters", "-w", LOCK_SECONDS];
        let mut written = Written::default();
        for part in self.parts(scripts) {
            let lines = part.iter().map(Script::lines).sum::<usize>() as u64;
            if lines > 0 {
                run(&self.namespace, &program, &arguments, part)?;
                written += Written { runs: 1, lines };
            }
        }
        tracing::trace!(program, written.runs, written.lines, "rules written");
        Ok(written)
    }
}

/// What `iptables` without a variant's name stands for.
fn host_default(namespace: &NetNs) -> Result<Variant, Error> {
    let version = version(namespace, "iptables")?;
    match version.contains("nf_tables") {
        true => Ok(Variant::Nft),
        false => Ok(Variant::Legacy),
    }
}

fn version(namespace: &NetNs, program: &str) -> Result<String, Error> {
    let output = run(namespace, program, &["--version"], &[])?;
    Ok(text(&output.stdout))
}

/// Runs a program in the namespace, with scripts as its input.
fn run(
    namespace: &NetNs,
    program: &str,
    arguments: &[&str],
    scripts: &[Script],
) -> Result<Output, Error> {
    let start = || {
        let mut command = Command::new(program);
        command.args(arguments);
        command.stdin(match scripts {
            [] => Stdio::null(),
            _ => Stdio::piped(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A child has the namespaces of the thread that starts it.
        command.spawn()
    };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            program: program.into(),
        },
        _ => Error::Run {
            program: program.into(),
            source,
        },
    };
    let mut child = namespace.run(start)?.map_err(failed)?;
    if let Some(input) = child.stdin.take() {
        let mut input = BufWriter::new(input);
        // A program that stops reading says why by itself.
        let _ = write_joined(scripts, &mut input).and_then(|()| input.flush());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(refusal(program, &text(&output.stderr), scripts))
}

fn refusal(program: &str, message: &str, scripts: &[Script]) -> Error {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let program = program.to_owned();
    let number = line_number(&message);
    let text = joined(scripts);
    match number.and_then(|number| text.lines().nth(number.checked_sub(1)?)) {
        Some(line) => Error::Refused {
            program,
            line: line.to_owned(),
            message,
        },
        None => Error::Failed { program, message },
    }
}

/// `line 5 failed`, `Error occurred at line: 5`, `line 5: RULE_APPEND failed`.
fn line_number(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once("line")?;
    let rest = rest.trim_start_matches([':', ' ']);
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_line() {
        let mut script = Script::new();
        script.append(
            Table::Nat,
            &"KUBE-X".into(),
            super::super::Rule::new().jump("KUBE-Y"),
        );
        for (message, line) in [
            ("iptables-restore: line 2 failed", "-A KUBE-X -j KUBE-Y"),
            (
                "unknown target\n\nError occurred at line: 2\nTry `-h'",
                "-A KUBE-X -j KUBE-Y",
            ),
            ("v1.8.9 (nf_tables):\nline 1: TABLE_ADD failed", "*nat"),
        ] {
            let error = refusal("iptables-restore", message, std::slice::from_ref(&script));
            let Error::Refused { line: named, .. } = &error else {
                panic!("{message}: {error:?}");
            };
            assert_eq!(named, line, "{message}");
        }
        let locked = "Another app is currently holding the xtables lock.";
        let error = refusal("iptables-restore", locked, &[script]).to_string();
        assert_eq!(
            error,
            format!("iptables: iptables-restore failed: {locked}")
        );
    }
}
