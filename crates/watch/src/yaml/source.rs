use std::borrow::Cow;
use std::sync::Arc;

use super::decode::Problem;
use super::slip::{self, Slip};
use super::{Mistake, Node, NodeValue, Position};

/// The text of a file, for parsing and for saying where a mistake is.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    path: Arc<str>,
    text: Cow<'a, str>,
}

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// Its documents. Where there are mistakes: as far as they could be read, so
    /// that more mistakes can be looked for, and never to be used.
    pub documents: Vec<Node>,
    /// What is wrong with its syntax.
    pub mistakes: Vec<Mistake>,
}

/// A document's lines within its file.
struct Chunk<'a> {
    text: &'a str,
    /// Lines of the file before it.
    lines_before: u32,
}

impl<'a> Source<'a> {
    /// The text of a file that mistakes call `path`.
    #[must_use]
    pub fn new(path: &str, text: &'a str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// What the file is called.
    #[must_use]
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// A mistake at a place of this file.
    #[must_use]
    pub fn mistake(&self, position: Position, what: impl Into<String>) -> Mistake {
        Mistake {
            path: self.path.clone(),
            line: position.line,
            column: position.column,
            what: what.into(),
            excerpt: self.line(position.line).to_owned(),
            meant: None,
        }
    }

    pub(crate) fn locate(&self, problem: Problem) -> Mistake {
        Mistake {
            meant: problem.meant,
            ..self.mistake(problem.position, problem.what)
        }
    }

    fn line(&self, number: u32) -> &str {
        let index = (number as usize).saturating_sub(1);
        self.text.lines().nth(index).unwrap_or_default().trim_end()
    }

    /// Parses every document, going on after one that is broken. A document with
    /// slips that people make (a missing colon, `--` for `-`) is read as it was
    /// probably meant, to find what else is wrong with it.
    #[must_use]
    pub fn parse(&self) -> Parsed {
        let mut parsed = Parsed::default();
        for chunk in chunks(&self.text) {
            let mut document = parse_chunk(&chunk);
            let suspicious = match &document {
                Ok(node) => slip::shows_in(node),
                Err(_) => true,
            };
            let slips = if suspicious {
                slip::find(chunk.text)
            } else {
                Vec::new()
            };
            if !slips.is_empty() {
                parsed
                    .mistakes
                    .extend(slips.iter().map(|slip| self.slipped(slip, &chunk)));
                document = parse_mended(&chunk, &slips);
                if document.is_err() && slips.iter().any(|slip| !slip.can_be_mended()) {
                    continue;
                }
            }
            match document {
                Ok(node) => parsed.documents.push(node),
                Err(problem) => parsed.mistakes.push(self.locate(problem)),
            }
        }
        parsed
    }

    fn slipped(&self, slip: &Slip, chunk: &Chunk<'_>) -> Mistake {
        let position = Position {
            line: slip.line + chunk.lines_before,
            column: slip.column,
        };
        Mistake {
            meant: Some(slip.meant.clone()),
            ..self.mistake(position, slip.what.clone())
        }
    }
}

/// The documents of a stream: what begins with a line `---`. YAML allows no such
/// line within a document, not even in a block of text.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut starts = vec![(0, 0)];
    let mut offset = 0;
    for (number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        let rest = line.strip_prefix("---");
        if offset > 0
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        {
            starts.push((offset, number));
        }
        offset += line.len();
    }
    let ends = starts
        .iter()
        .skip(1)
        .map(|(start, _)| *start)
        .chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((start, lines_before), end)| Chunk {
            text: &text[*start..end],
            lines_before: *lines_before,
        })
        .filter(|chunk| chunk.text.lines().any(has_content))
        .collect()
}

fn has_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !line.is_empty() && !line.starts_with('#') && line != "..."
}

fn parse_chunk(chunk: &Chunk<'_>) -> Result<Node, Problem> {
    parse_text(chunk.text)
        .map(|mut node| {
            shift(&mut node, chunk.lines_before);
            node
        })
        .map_err(|mut problem| {
            problem.position.line += chunk.lines_before;
            problem
        })
}

/// The document as it was probably meant: with the first way of mending its
/// slips that parses.
fn parse_mended(chunk: &Chunk<'_>, slips: &[Slip]) -> Result<Node, Problem> {
    let mut outcome = Err(Problem::new(Position::START, "nothing to mend"));
    for way in slip::Way::ALL {
        let text = slip::mend(chunk.text, slips, way);
        outcome = parse_chunk(&Chunk {
            text: &text,
            ..*chunk
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn parse_text(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        // What kubectl's parser makes of 0644.
        legacy_octal_numbers: true,
        // A List of everything in a large cluster; what an alias may be repeated
        // to stays limited.
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 4 << 30,
        },
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let place = error
            .location()
            .map_or(Position::START, |location| Position {
                line: u32::try_from(location.line()).unwrap_or(u32::MAX).max(1),
                column: u32::try_from(location.column()).unwrap_or(u32::MAX).max(1),
            });
        Problem::new(place, describe(error.without_snippet()))
    })
}

/// The parser's message without the place, which a mistake says itself.
fn describe(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let key = key.as_deref().unwrap_or_default();
        return format!("the key {key:?} stands twice in one mapping");
    }
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}

fn shift(node: &mut Node, lines: u32) {
    node.position.line += lines;
    match &mut node.value {
        NodeValue::List(items) => items.iter_mut().for_each(|item| shift(item, lines)),
        NodeValue::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.position.line += lines;
            shift(&mut entry.node, lines);
        }),
        _ => {}
    }
}
