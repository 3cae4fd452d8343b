use std::fmt::{self, Write as _};
use std::net::IpAddr;

use ipnet::IpNet;

use super::MAX_COMMENT;

/// What stands in a rule after its chain, spelled and ordered as
/// `iptables-save` does it, so that a rule that was written equals the rule that
/// is read.
///
/// The parts are appended in the order of the calls; `iptables-save` begins with
/// source, destination and protocol, then come the matches and the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule(Box<str>);

impl Rule {
    /// A rule that matches everything and does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self("".into())
    }

    /// A rule as it was read.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.trim().into())
    }

    fn with(self, part: fmt::Arguments<'_>) -> Self {
        let mut text = String::from(self.0);
        if !text.is_empty() {
            text.push(' ');
        }
        text.write_fmt(part).expect("a String takes every write");
        Self(text.into())
    }

    /// `-s PREFIX`. Every source where the prefix holds all.
    #[must_use]
    pub fn source(self, prefix: IpNet) -> Self {
        match prefix.prefix_len() {
            0 => self,
            _ => self.with(format_args!("-s {}", prefix.trunc())),
        }
    }

    /// `! -s PREFIX`.
    #[must_use]
    pub fn not_source(self, prefix: IpNet) -> Self {
        self.with(format_args!("! -s {}", prefix.trunc()))
    }

    /// `-d PREFIX`. Every destination where the prefix holds all.
    #[must_use]
    pub fn destination(self, prefix: IpNet) -> Self {
        match prefix.prefix_len() {
            0 => self,
            _ => self.with(format_args!("-d {}", prefix.trunc())),
        }
    }

    /// `! -d PREFIX`.
    #[must_use]
    pub fn not_destination(self, prefix: IpNet) -> Self {
        self.with(format_args!("! -d {}", prefix.trunc()))
    }

    /// `-i INTERFACE`: a name, or the begin of one and a plus sign.
    #[must_use]
    pub fn input(self, interface: &str) -> Self {
        self.with(format_args!("-i {interface}"))
    }

    /// `! -i INTERFACE`. What the host itself sends has come in by none.
    #[must_use]
    pub fn not_input(self, interface: &str) -> Self {
        self.with(format_args!("! -i {interface}"))
    }

    /// `-p PROTOCOL`.
    #[must_use]
    pub fn protocol(self, protocol: &str) -> Self {
        self.with(format_args!("-p {protocol}"))
    }

    /// `-m comment --comment TEXT`, cut at what the kernel keeps. Control
    /// characters, which no line of a restore can hold, become question marks.
    #[must_use]
    pub fn comment(self, text: &str) -> Self {
        let mut comment = String::with_capacity(text.len());
        for character in text.chars() {
            let character = if character.is_control() {
                '?'
            } else {
                character
            };
            if comment.len() + character.len_utf8() > MAX_COMMENT {
                break;
            }
            comment.push(character);
        }
        self.with(format_args!("-m comment --comment {}", quoted(&comment)))
    }

    /// `-m PROTOCOL`, as a rule with a target that names a port needs it.
    #[must_use]
    pub fn transport(self, protocol: &str) -> Self {
        self.with(format_args!("-m {protocol}"))
    }

    /// `-m PROTOCOL --dport PORT`.
    #[must_use]
    pub fn destination_port(self, protocol: &str, port: u16) -> Self {
        self.with(format_args!("-m {protocol} --dport {port}"))
    }

    /// Another match, as it is written: `addrtype --dst-type LOCAL`.
    #[must_use]
    pub fn matching(self, text: &str) -> Self {
        self.with(format_args!("-m {text}"))
    }

    /// `-m statistic`: `part` in `whole` packets, at random.
    #[must_use]
    pub fn chance(self, part: u32, whole: u32) -> Self {
        // The kernel counts in parts of 2^31, and prints what it has kept.
        const UNIT: f64 = 2_147_483_648.0;
        let probability = f64::from(part.min(whole)) / f64::from(whole.max(1));
        let kept = (UNIT * probability).round() / UNIT;
        self.with(format_args!(
            "-m statistic --mode random --probability {kept:.11}"
        ))
    }

    /// `-j TARGET`, with the target's options: `DROP`, `MARK --set-xmark 1/1`.
    #[must_use]
    pub fn jump(self, target: &str) -> Self {
        self.with(format_args!("-j {target}"))
    }

    /// `-j DNAT --to-destination ADDRESS:PORT`.
    #[must_use]
    pub fn translate(self, address: IpAddr, port: u16) -> Self {
        let endpoint = std::net::SocketAddr::new(address, port);
        self.with(format_args!("-j DNAT --to-destination {endpoint}"))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The words, without their quotes.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        words(&self.0)
    }

    /// What follows `-j` or `-g`: a chain or a target.
    #[must_use]
    pub fn target(&self) -> Option<String> {
        let mut words = self.words().into_iter();
        words.find(|word| word == "-j" || word == "-g")?;
        words.next()
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A word as `iptables-save` writes it: in quotes unless it is all letters,
/// digits, `_` and `-`; quotes and backslashes behind a backslash.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('"');
    for character in word.chars() {
        if matches!(character, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Splits as `iptables-restore` does.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            '\\' if in_quotes => {
                if let Some(escaped) = characters.next() {
                    word.get_or_insert_default().push(escaped);
                }
            }
            ' ' | '\t' if !in_quotes => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_quoted_as_iptables_save_does() {
        for (comment, text) in [
            ("plain_word-1", "plain_word-1"),
            ("ns1/svc1:p80", "\"ns1/svc1:p80\""),
            ("", "\"\""),
            (r#"it's "q" \"#, r#""it\'s \"q\" \\""#),
            ("one\ntwo", "\"one?two\""),
        ] {
            let rule = Rule::new().comment(comment).jump("DROP");
            assert_eq!(rule.text(), format!("-m comment --comment {text} -j DROP"));
            let read = comment.replace('\n', "?");
            assert_eq!(rule.words()[3], read, "{rule}");
            assert_eq!(rule.target().as_deref(), Some("DROP"), "{rule}");
        }
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let rule = Rule::new().comment(&"ä".repeat(200));
        assert_eq!(rule.words()[3].len(), MAX_COMMENT - 1);
    }

    #[test]
    fn probabilities_are_what_the_kernel_keeps() {
        for (part, whole, printed) in [
            (1, 1, "1.00000000000"),
            (1, 2, "0.50000000000"),
            (1, 3, "0.33333333349"),
            (100, 300, "0.33333333349"),
            (1, 1025, "0.00097560976"),
        ] {
            let text = format!("-m statistic --mode random --probability {printed}");
            assert_eq!(Rule::new().chance(part, whole).text(), text);
        }
    }
}
