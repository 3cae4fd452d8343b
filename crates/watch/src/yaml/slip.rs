//! Slips that people make, or web pages make for them, in files that no parser
//! can then read: what stands there and what was probably meant.
//!
//! Each of these lines can stand in a valid file too (a `--` in a text, say), so
//! slips are looked for only in a document that is broken anyway.

use super::{Node, NodeValue};

/// One slip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slip {
    /// The line within the document, from 1.
    pub(super) line: u32,
    /// The column in characters, from 1.
    pub(super) column: u32,
    /// What is wrong.
    pub(super) what: String,
    /// What was probably meant.
    pub(super) meant: String,
    mend: Mend,
}

/// How to make the line what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mend {
    /// Put a text at this many characters from the line's start.
    Insert(usize, &'static str),
    /// Replace the two characters of a list marker there.
    Dash(usize),
    /// Replace the characters there by others.
    Replace(usize, usize, String),
    /// Nobody can know.
    No,
}

/// What becomes of the text behind a mended list marker: the mended line must
/// agree with the indentation of its neighbours, and only they know how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It moves to the left by the character that was too much.
    Closer,
    /// It stays in its column.
    InPlace,
    /// As `InPlace`, but `key: value` moves to the column of the line below,
    /// where that line goes on with the same mapping.
    Aligned,
}

impl Slip {
    pub(super) fn can_be_mended(&self) -> bool {
        self.mend != Mend::No
    }
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Closer, Self::InPlace, Self::Aligned];
}

/// Keys that a line may begin with where the colon or the space after it was
/// forgotten. Other words may as well be the second line of a text.
const KEYS: [&str; 37] = [
    "addresses",
    "annotations",
    "apiVersion",
    "app",
    "cidr",
    "clusterIP",
    "containerPort",
    "containers",
    "data",
    "egress",
    "endPort",
    "except",
    "externalTrafficPolicy",
    "from",
    "image",
    "ingress",
    "ipBlock",
    "items",
    "kind",
    "labels",
    "matchLabels",
    "metadata",
    "name",
    "namespace",
    "namespaceSelector",
    "nodePort",
    "podSelector",
    "policyTypes",
    "port",
    "ports",
    "protocol",
    "selector",
    "sessionAffinity",
    "spec",
    "targetPort",
    "to",
    "type",
];

/// Characters that look like YAML's own and are not.
const LOOKALIKES: [(char, &str); 10] = [
    ('\u{ff1a}', ":"),
    ('\u{ff0c}', ","),
    ('\u{201c}', "\""),
    ('\u{201d}', "\""),
    ('\u{2018}', "'"),
    ('\u{2019}', "'"),
    ('\u{2013}', "-"),
    ('\u{2014}', "-"),
    ('\u{00a0}', " "),
    ('\u{3000}', " "),
];

/// Whether a document that parses shows signs of a slip: a key that begins with
/// a broken list marker.
pub(super) fn shows_in(node: &Node) -> bool {
    match &node.value {
        NodeValue::List(items) => items.iter().any(shows_in),
        NodeValue::Map(entries) => entries
            .iter()
            .any(|entry| marker(&entry.key).is_some() || shows_in(&entry.node)),
        NodeValue::Text(text) => marker(text).is_some() && !text.contains('\n'),
        _ => false,
    }
}

/// Every slip of a document, in order; at most one a line.
pub(super) fn find(text: &str) -> Vec<Slip> {
    let mut slips = Vec::new();
    // Lines indented deeper than this belong to a block of text (`|`, `>`).
    let mut block: Option<usize> = None;
    for (number, line) in (1u32..).zip(text.lines()) {
        let content = without_comment(line).trim_end();
        let indent = content.len() - content.trim_start().len();
        if content.is_empty() || block.is_some_and(|parent| indent > parent) {
            continue;
        }
        block = opens_block(content).then_some(indent);
        let found = tab(content)
            .or_else(|| dash(content))
            .or_else(|| lookalike(content))
            .or_else(|| missing_colon(content))
            .or_else(|| missing_space(content));
        slips.extend(found.map(|slip| Slip {
            line: number,
            ..slip
        }));
    }
    slips
}

/// The text with its slips mended. Lines stay where they are.
pub(super) fn mend(text: &str, slips: &[Slip], way: Way) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut mended = String::with_capacity(text.len());
    for (number, line) in (1u32..).zip(&lines) {
        let slip = slips.iter().find(|slip| slip.line == number);
        let below = lines
            .iter()
            .skip(number as usize)
            .find(|line| !line.trim().is_empty());
        match slip {
            Some(slip) => mended.push_str(&mend_line(line, &slip.mend, way, below.copied())),
            None => mended.push_str(line),
        }
        mended.push('\n');
    }
    mended
}

fn mend_line(line: &str, mend: &Mend, way: Way, below: Option<&str>) -> String {
    let at = |column: usize| -> (String, String) {
        (
            line.chars().take(column).collect(),
            line.chars().skip(column).collect(),
        )
    };
    match mend {
        Mend::No => line.to_owned(),
        Mend::Insert(column, text) => {
            let (before, after) = at(*column);
            format!("{before}{text}{after}")
        }
        Mend::Replace(column, length, text) => {
            let (before, _) = at(*column);
            let (_, after) = at(column + length);
            format!("{before}{text}{after}")
        }
        Mend::Dash(column) => {
            let (before, _) = at(*column);
            let (_, after) = at(column + 2);
            let content = after.trim_start();
            let padding = after.len() - content.len();
            let padding = match way {
                Way::Closer => padding.max(1),
                Way::InPlace => padding + 1,
                Way::Aligned => aligned(*column, content, below).unwrap_or(padding + 1),
            };
            format!("{before}-{}{content}", " ".repeat(padding))
        }
    }
}

/// Spaces between a list marker and `key: value` so that the key stands above
/// that of the line below.
fn aligned(column: usize, content: &str, below: Option<&str>) -> Option<usize> {
    let (_, value) = without_comment(content).split_once(": ")?;
    let below = below?;
    let indent = below.len() - below.trim_start().len();
    (!value.trim().is_empty() && indent > column + 1).then(|| indent - column - 1)
}

fn slip(column: usize, what: String, meant: String, mend: Mend) -> Slip {
    Slip {
        line: 0,
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        what,
        meant,
        mend,
    }
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

fn tab(content: &str) -> Option<Slip> {
    let indent = content.len() - content.trim_start().len();
    let column = content[..indent].find('\t')?;
    Some(slip(
        column,
        "a tab in the indentation: YAML allows only spaces there".to_owned(),
        "spaces, as many as the lines beside it have".to_owned(),
        Mend::No,
    ))
}

/// `--` or `\-` where `-` begins an item of a list.
fn dash(content: &str) -> Option<Slip> {
    let item = content.trim_start();
    let found = marker(item)?;
    let column = characters(&content[..content.len() - item.len()]);
    let rest = item[found.len()..].trim_start();
    let meant = format!("- {rest}");
    Some(slip(
        column,
        format!("`{found}` does not begin an item of a list, `-` does"),
        meant.trim_end().to_owned(),
        Mend::Dash(column),
    ))
}

fn marker(item: &str) -> Option<&'static str> {
    ["--", "\\-"].into_iter().find(|marker| {
        item.strip_prefix(marker)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

fn lookalike(content: &str) -> Option<Slip> {
    let (column, (found, plain)) = content.chars().enumerate().find_map(|(i, c)| {
        LOOKALIKES
            .iter()
            .find(|(found, _)| *found == c)
            .map(|pair| (i, *pair))
    })?;
    let mended: String = content
        .chars()
        .map(|c| {
            let pair = LOOKALIKES.iter().find(|(found, _)| *found == c);
            pair.map_or_else(|| c.to_string(), |(_, plain)| (*plain).to_owned())
        })
        .collect();
    let mended = if found == '\u{ff1a}' {
        mended.replacen(':', ": ", 1)
    } else {
        mended
    };
    Some(slip(
        column,
        format!(
            "{found:?} (U+{:04X}) only looks like {plain:?}",
            u32::from(found)
        ),
        mended.trim().to_owned(),
        Mend::Replace(0, characters(content), mended),
    ))
}

/// `key [..]`, `key {..}`, `key "..."`, and `key word` where the key is known.
fn missing_colon(content: &str) -> Option<Slip> {
    let (column, item) = after_markers(content);
    let key: String = item
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let rest = &item[key.len()..];
    let value = rest.trim_start();
    let opens = value.starts_with(['[', '{', '"', '\'']);
    let is_known = KEYS.contains(&key.as_str());
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic());
    let forgot = is_key && !value.is_empty() && rest.len() > value.len() && (opens || is_known);
    let bare = is_known && value.is_empty() && !content.trim_end().ends_with(':');
    if !(forgot || bare) || value.starts_with(':') || (!opens && value.contains(": ")) {
        return None;
    }
    Some(slip(
        column,
        format!("missing colon after {key:?}"),
        format!("{key}: {value}").trim_end().to_owned(),
        Mend::Insert(column + characters(&key), ":"),
    ))
}

/// `port:80`.
fn missing_space(content: &str) -> Option<Slip> {
    let (column, item) = after_markers(content);
    let (key, value) = item.split_once(':')?;
    let glued = value.chars().next().is_some_and(|c| !c.is_whitespace());
    (KEYS.contains(&key) && glued).then(|| {
        slip(
            column,
            format!("missing space after \"{key}:\""),
            format!("{key}: {value}"),
            Mend::Insert(column + characters(key) + 1, " "),
        )
    })
}

/// What stands behind the indentation and the list markers of a line, and the
/// column where it begins, from 0.
fn after_markers(content: &str) -> (usize, &str) {
    let mut item = content.trim_start();
    while let Some(rest) = item.strip_prefix("- ") {
        item = rest.trim_start();
    }
    (characters(&content[..content.len() - item.len()]), item)
}

fn opens_block(content: &str) -> bool {
    let value = content.rsplit([' ', ':']).next().unwrap_or_default();
    let mut characters = value.chars();
    matches!(characters.next(), Some('|' | '>'))
        && characters.all(|c| matches!(c, '+' | '-') || c.is_ascii_digit())
}

/// The line up to a `#` that begins a comment: at the start or after a space,
/// and not within quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (offset, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return &line[..offset],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}
