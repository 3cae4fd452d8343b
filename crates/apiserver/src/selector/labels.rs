use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

use podway_model::{Labels, Operator, Requirement, Selector};
use serde_json::Value;

use super::SelectorError;
use crate::validate::names;

/// Follows apimachinery `labels.Parse`: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    selector: Selector,
    comparisons: Vec<Comparison>,
}

/// `key > bound` or `key < bound`: only requests know it, objects do not.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    key: String,
    greater: bool,
    bound: i64,
}

impl LabelSelector {
    /// Parses the text of a request; empty selects everything.
    ///
    /// # Errors
    /// Text that is not a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: tokens(text).into_iter().peekable(),
            selector: Self::default(),
        };
        parser.selector().map_err(SelectorError)?;
        Ok(parser.selector)
    }

    /// Whether the object's labels match.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels: Labels = object
            .pointer("/metadata/labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        self.selector.matches(&labels) && self.comparisons.iter().all(|c| c.matches(&labels))
    }
}

impl Comparison {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key).and_then(|v| v.parse::<i64>().ok());
        value.is_some_and(|value| {
            if self.greater {
                value > self.bound
            } else {
                value < self.bound
            }
        })
    }
}

const SPECIAL: &[char] = &['=', '!', '(', ')', ',', '>', '<'];

/// Words and operators. White space only separates.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = if rest.starts_with("==") || rest.starts_with("!=") {
            2
        } else if rest.starts_with(SPECIAL) {
            1
        } else {
            rest.find(|c: char| c.is_whitespace() || SPECIAL.contains(&c))
                .unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    tokens
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !token.starts_with(SPECIAL)
}

struct Parser {
    tokens: Peekable<IntoIter<String>>,
    selector: LabelSelector,
}

impl Parser {
    /// The next token without taking it; empty at the end.
    fn peek(&mut self) -> &str {
        self.tokens.peek().map_or("", String::as_str)
    }

    fn take(&mut self) -> String {
        self.tokens.next().unwrap_or_default()
    }

    fn selector(&mut self) -> Result<(), String> {
        match self.peek() {
            "" => return Ok(()),
            token if is_word(token) || token == "!" => {}
            token => {
                return Err(format!(
                    "found '{token}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        loop {
            self.requirement()
                .map_err(|error| format!("unable to parse requirement: {error}"))?;
            match self.take().as_str() {
                "" => return Ok(()),
                "," => {
                    let next = self.peek();
                    if !is_word(next) && next != "!" {
                        return Err(format!("found '{next}', expected: identifier after ','"));
                    }
                }
                other => {
                    return Err(format!("found '{other}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<(), String> {
        if self.peek() == "!" {
            self.take();
            let key = self.key()?;
            self.require(key, Operator::DoesNotExist);
            return Ok(());
        }
        let key = self.key()?;
        if matches!(self.peek(), "" | ",") {
            self.require(key, Operator::Exists);
            return Ok(());
        }
        match self.take().as_str() {
            "=" | "==" => {
                let value = self.value(&key)?;
                self.require(key, Operator::In(BTreeSet::from([value])));
            }
            "!=" => {
                let value = self.value(&key)?;
                self.require(key, Operator::NotIn(BTreeSet::from([value])));
            }
            "in" => {
                let values = self.values(&key)?;
                self.require(key, Operator::In(values));
            }
            "notin" => {
                let values = self.values(&key)?;
                self.require(key, Operator::NotIn(values));
            }
            operator @ (">" | "<") => {
                let value = self.value(&key)?;
                let bound = value.parse().map_err(|_| {
                    format!(
                        "values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, \
                         the value must be an integer"
                    )
                })?;
                let greater = operator == ">";
                self.selector.comparisons.push(Comparison {
                    key,
                    greater,
                    bound,
                });
            }
            other => {
                return Err(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        }
        Ok(())
    }

    fn require(&mut self, key: String, operator: Operator) {
        let requirement = Requirement { key, operator };
        self.selector.selector.requirements.push(requirement);
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.take();
        if !is_word(&key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        match names::qualified_name(&key).first() {
            Some(error) => Err(format!("key: Invalid value: {key:?}: {error}")),
            None => Ok(key),
        }
    }

    /// The value of `=`, `!=` and the comparisons; none is the empty one.
    fn value(&mut self, key: &str) -> Result<String, String> {
        if matches!(self.peek(), "" | ",") {
            return Ok(String::new());
        }
        let value = self.take();
        if !is_word(&value) {
            return Err(format!("found '{value}', expected: identifier"));
        }
        checked(key, value)
    }

    /// `(a, b)`. An item may be empty.
    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        match self.take().as_str() {
            "(" => {}
            other => return Err(format!("found '{other}' expected: '('")),
        }
        let mut values = BTreeSet::new();
        loop {
            let value = if is_word(self.peek()) {
                self.take()
            } else {
                String::new()
            };
            values.insert(checked(key, value)?);
            match self.take().as_str() {
                "," => {}
                ")" => return Ok(values),
                other => return Err(format!("found '{other}', expected: ',', or ')'")),
            }
        }
    }
}

fn checked(key: &str, value: String) -> Result<String, String> {
    match names::label_value(&value).first() {
        Some(error) => Err(format!(
            "values[0][{key}]: Invalid value: {value:?}: {error}"
        )),
        None => Ok(value),
    }
}
