use std::collections::BTreeMap;

use super::script::joined;
use super::{
    Chains, Error, Family, Iptables, MAX_CHAIN_NAME, MAX_COMMENT, Rule, Script, Table, Written,
};

/// iptables in memory. It reads the text that the programs would read, and
/// refuses what they and the kernel refuse.
#[derive(Debug, Clone, Default)]
pub struct FakeIptables {
    tables: BTreeMap<(Family, Table), Chains>,
    written: Written,
    failing: u32,
    apart: bool,
}

const PROGRAM: &str = "fake-restore";
const MATCHES: [&str; 9] = [
    "addrtype",
    "comment",
    "conntrack",
    "mark",
    "sctp",
    "set",
    "statistic",
    "tcp",
    "udp",
];

impl FakeIptables {
    /// A kernel without rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next restores fail, as when another program holds the lock.
    pub const fn fail(&mut self, times: u32) {
        self.failing = times;
    }

    /// Writes every script by itself from now on, as scripts may be.
    pub const fn write_apart(&mut self) {
        self.apart = true;
    }

    /// What has been written.
    #[must_use]
    pub const fn written(&self) -> Written {
        self.written
    }

    /// Reads text as `iptables-restore --noflush` does.
    ///
    /// # Errors
    /// [`Error::Refused`]; the table at fault is as it was.
    pub fn restore_text(&mut self, family: Family, text: &str) -> Result<(), Error> {
        let mut current: Option<(Table, Chains)> = None;
        for line in text.lines() {
            let refused = |message: String| Error::Refused {
                program: PROGRAM.into(),
                line: line.into(),
                message,
            };
            if let Some(name) = line.strip_prefix('*') {
                let table = Table::ALL.into_iter().find(|table| table.name() == name);
                let table = table.ok_or_else(|| refused("no such table".into()))?;
                current = Some((table, self.chains(family, table)));
                continue;
            }
            let (table, mut chains) = current
                .take()
                .ok_or_else(|| refused("no table yet".into()))?;
            if line == "COMMIT" {
                verify(&chains).map_err(refused)?;
                self.tables.insert((family, table), chains);
                continue;
            }
            edit(table, &mut chains, line).map_err(refused)?;
            current = Some((table, chains));
        }
        Ok(())
    }

    fn chains(&self, family: Family, table: Table) -> Chains {
        self.tables
            .get(&(family, table))
            .cloned()
            .unwrap_or_else(|| {
                let built_in = table.built_in().iter();
                built_in
                    .map(|chain| ((*chain).into(), Vec::new()))
                    .collect()
            })
    }
}

impl Iptables for FakeIptables {
    fn families(&self) -> &[Family] {
        &Family::ALL
    }

    fn save(&mut self, family: Family) -> Result<BTreeMap<Table, Chains>, Error> {
        let tables = self.tables.iter();
        let of_family = tables.filter(|((of, _), _)| *of == family);
        Ok(of_family
            .map(|((_, table), chains)| (*table, chains.clone()))
            .collect())
    }

    fn restore(&mut self, family: Family, scripts: &[Script]) -> Result<Written, Error> {
        let lines = scripts.iter().map(Script::lines).sum::<usize>() as u64;
        if lines == 0 {
            return Ok(Written::default());
        }
        if self.failing > 0 {
            self.failing -= 1;
            return Err(Error::Failed {
                program: PROGRAM.into(),
                message: "Another app is currently holding the xtables lock".into(),
            });
        }
        let parts: Vec<&[Script]> = match self.apart {
            true => scripts.chunks(1).collect(),
            false => vec![scripts],
        };
        for part in &parts {
            self.restore_text(family, &joined(part))?;
        }
        let runs = parts.len() as u64;
        let written = Written { runs, lines };
        self.written += written;
        Ok(written)
    }
}

fn edit(table: Table, chains: &mut Chains, line: &str) -> Result<(), String> {
    if let Some(declared) = line.strip_prefix(':') {
        let name = declared.split(' ').next().unwrap_or_default();
        if name.len() > MAX_CHAIN_NAME {
            return Err(format!("chain name `{name}' too long"));
        }
        chains.insert(name.into(), Vec::new());
        return Ok(());
    }
    let (option, rest) = line.split_once(' ').ok_or("not a line of a restore")?;
    let (name, rule) = rest.split_once(' ').unwrap_or((rest, ""));
    let rule = Rule::parse(rule);
    let rules = chains.get_mut(name).ok_or("No such chain")?;
    match option {
        "-A" => rules.push(rule.clone()),
        "-I" => rules.insert(0, rule.clone()),
        "-D" => {
            let place = rules.iter().position(|held| *held == rule);
            rules.remove(place.ok_or("Bad rule (does a matching rule exist in that chain?)")?);
            return Ok(());
        }
        "-X" if !rules.is_empty() => return Err("Directory not empty".into()),
        "-X" => {
            chains.remove(name);
            return Ok(());
        }
        _ => return Err(format!("unknown option {option}")),
    }
    accept(table, &rule)
}

/// What is wrong with a rule, whatever the chains are.
fn accept(table: Table, rule: &Rule) -> Result<(), String> {
    let words = rule.words();
    for pair in words.windows(2) {
        match (pair[0].as_str(), pair[1].as_str()) {
            ("-m", name) if !MATCHES.contains(&name) => {
                return Err(format!("Couldn't load match `{name}'"));
            }
            ("--comment", text) if text.len() > MAX_COMMENT => {
                return Err("comment: too long".into());
            }
            ("-j", "DNAT" | "MASQUERADE") if table != Table::Nat => {
                return Err(format!("{} is valid in table nat only", pair[1]));
            }
            ("-j", "REJECT") if table != Table::Filter => {
                return Err("REJECT is valid in table filter only".into());
            }
            ("-j", "DROP") if table == Table::Nat => {
                return Err("The \"nat\" table is not intended for filtering".into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every jump leads to a target or to a chain that is there.
fn verify(chains: &Chains) -> Result<(), String> {
    const TARGETS: [&str; 8] = [
        "ACCEPT",
        "DROP",
        "RETURN",
        "REJECT",
        "DNAT",
        "MASQUERADE",
        "MARK",
        "SET",
    ];
    for rule in chains.values().flatten() {
        let Some(target) = rule.target() else {
            continue;
        };
        if !TARGETS.contains(&target.as_str()) && !chains.contains_key(target.as_str()) {
            return Err(format!("Couldn't load target `{target}' of `{rule}`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_refuse_is_refused() {
        let too_long = format!(":{} - [0:0]", "K".repeat(29));
        for (text, message) in [
            ("-A KUBE-X -j DROP", "No such chain"),
            ("-A INPUT -j KUBE-X", "Couldn't load target `KUBE-X'"),
            ("-A INPUT -m owl -j DROP", "Couldn't load match `owl'"),
            ("-D INPUT -j DROP", "Bad rule"),
            (
                ":KUBE-X - [0:0]\n-A KUBE-X -j DROP\n-X KUBE-X",
                "Directory not empty",
            ),
            (
                ":KUBE-X - [0:0]\n-A INPUT -j KUBE-X\n-X KUBE-X",
                "Couldn't load target",
            ),
            ("-A INPUT -j MASQUERADE", "valid in table nat only"),
            (&too_long, "too long"),
        ] {
            let mut fake = FakeIptables::new();
            let text = format!("*filter\n{text}\nCOMMIT\n");
            let error = fake
                .restore_text(Family::V4, &text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{text}\n{error}");
            assert_eq!(fake.save(Family::V4).unwrap().len(), 0, "{text}");
        }
    }

    #[test]
    fn scripts_are_joined_and_read_in_order() {
        let (a, b) = ("KUBE-A".into(), "KUBE-B".into());
        let mut script = Script::new();
        script.chain(Table::Filter, &a, [Rule::new().jump("KUBE-B")]);
        script.append(Table::Filter, &"INPUT".into(), Rule::new().jump("KUBE-A"));
        let mut second = Script::new();
        second.chain(Table::Filter, &b, [Rule::new().jump("DROP")]);
        let mut fake = FakeIptables::new();
        let written = fake.restore(Family::V6, &[script, second]).unwrap();
        assert_eq!(written, Written { runs: 1, lines: 5 });

        let mut third = Script::new();
        third.remove(Table::Filter, &a);
        third.delete(Table::Filter, &"INPUT".into(), Rule::new().jump("KUBE-A"));
        third.insert(Table::Filter, &b, Rule::new().jump("ACCEPT"));
        fake.restore(Family::V6, &[third]).unwrap();
        let held = &fake.save(Family::V6).unwrap()[&Table::Filter];
        let rules: Vec<&str> = held[&b].iter().map(Rule::text).collect();
        assert_eq!(rules, ["-j ACCEPT", "-j DROP"]);
        assert!(!held.contains_key(&a) && held["INPUT"].is_empty());
    }
}
