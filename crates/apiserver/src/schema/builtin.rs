//! The table of Kubernetes' own types, read once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::{Field, Items, Key, Merge, ObjectType, Scalar, Shape};

const TABLE: &str = include_str!("kubernetes.txt");

static TYPES: LazyLock<HashMap<&str, Arc<ObjectType>>> =
    LazyLock::new(|| read(TABLE).expect("a test reads the same text"));

/// A type of the table, such as `core.Pod` or `networking.NetworkPolicy`: the
/// first part of the group and the kind.
pub(crate) fn builtin(name: &str) -> Option<Arc<ObjectType>> {
    TYPES.get(name).cloned()
}

/// A type as it is written: its lines, and whether it has one owner.
struct Entry<'t> {
    lines: Vec<&'t str>,
    whole: bool,
}

/// The entries, and the types that have been made of them.
struct Reader<'t> {
    entries: HashMap<&'t str, Entry<'t>>,
    types: HashMap<&'t str, Arc<ObjectType>>,
}

/// Reads the whole table; the error is the line that is wrong.
pub(super) fn read(table: &str) -> Result<HashMap<&str, Arc<ObjectType>>, String> {
    let mut entries: HashMap<&str, Entry<'_>> = HashMap::new();
    let mut current = None;
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    for line in lines.filter(|line| !line.trim().is_empty()) {
        if line.starts_with(' ') {
            let entry = current.and_then(|name| entries.get_mut(name));
            let entry = entry.ok_or_else(|| format!("a field before any type: {line}"))?;
            entry.lines.push(line);
            continue;
        }
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let entry = Entry {
            lines: Vec::new(),
            whole: rest == "whole",
        };
        entries.insert(name, entry);
        current = Some(name);
    }
    let names: Vec<&str> = entries.keys().copied().collect();
    let mut reader = Reader {
        entries,
        types: HashMap::new(),
    };
    for name in names {
        reader.resolve(name)?;
    }
    Ok(reader.types)
}

impl<'t> Reader<'t> {
    /// The types refer to each other without cycles.
    fn resolve(&mut self, name: &str) -> Result<Arc<ObjectType>, String> {
        if let Some(known) = self.types.get(name) {
            return Ok(Arc::clone(known));
        }
        let (name, entry) = self
            .entries
            .remove_entry(name)
            .ok_or_else(|| format!("no type {name}, or it contains itself"))?;
        let fields = entry.lines.iter().map(|line| {
            self.field(line)
                .map_err(|why| format!("{name}: {}: {why}", line.trim()))
        });
        let fields = fields.collect::<Result<_, _>>()?;
        let made = Arc::new(ObjectType { fields });
        self.entries.insert(name, entry);
        self.types.insert(name, Arc::clone(&made));
        Ok(made)
    }

    fn field(&mut self, line: &str) -> Result<Field, String> {
        let mut words = line.split_whitespace();
        let mut word = || words.next().ok_or("number, name and shape are needed");
        let (number, name, shape) = (word()?, word()?, word()?);
        let optional = shape.starts_with('?');
        let mut field = Field {
            number: number.parse().map_err(|_| "the number is not one")?,
            name: if name == "." { "" } else { name }.to_owned(),
            shape: self.shape(shape.trim_start_matches('?'))?,
            optional,
            default: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("default", value)) => field.default = Some(value.to_owned()),
                other => mark(&mut field.shape, word, other)?,
            }
        }
        Ok(field)
    }

    fn shape(&mut self, text: &str) -> Result<Shape, String> {
        let inside =
            |open: char, close: char| text.strip_prefix(open).and_then(|t| t.strip_suffix(close));
        if let Some(of) = inside('[', ']') {
            return Ok(Shape::List {
                of: Box::new(self.shape(of)?),
                items: Items::Whole,
                merge: None,
            });
        }
        if let Some(of) = inside('{', '}') {
            return Ok(Shape::Map {
                of: Box::new(self.shape(of)?),
                whole: false,
            });
        }
        if let Some(scalar) = scalar(text) {
            return Ok(Shape::Scalar(scalar));
        }
        let of = self.resolve(text)?;
        let whole = self.entries.get(text).is_some_and(|entry| entry.whole);
        Ok(Shape::Object { of, whole })
    }
}

fn scalar(text: &str) -> Option<Scalar> {
    Some(match text {
        "string" => Scalar::String,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "bool" => Scalar::Bool,
        "bytes" => Scalar::Bytes,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "quantity" => Scalar::Quantity,
        "intOrString" => Scalar::IntOrString,
        "json" => Scalar::Json,
        _ => return None,
    })
}

/// Applies a word that follows the shape.
fn mark(shape: &mut Shape, word: &str, pair: Option<(&str, &str)>) -> Result<(), String> {
    match (shape, word, pair) {
        (Shape::Object { whole, .. } | Shape::Map { whole, .. }, "whole", _) => *whole = true,
        (Shape::List { items, .. }, "set", _) => *items = Items::Set,
        (Shape::List { merge, .. }, "merge", _) => *merge = Some(Merge::Set),
        (Shape::List { merge, .. }, _, Some(("merge", key))) => {
            *merge = Some(Merge::By(key.to_owned()));
        }
        (Shape::List { items, of, .. }, _, Some(("keys", keys))) => {
            let Shape::Object { of, .. } = &**of else {
                return Err("only objects have keys".to_owned());
            };
            *items = Items::Keyed(keys.split(',').map(|name| key(of, name)).collect());
        }
        _ => return Err(format!("{word} says nothing here")),
    }
    Ok(())
}

fn key(of: &ObjectType, name: &str) -> Key {
    let default = of.find(name).and_then(|field| field.default.clone());
    Key {
        name: name.to_owned(),
        default: default.map(Value::String),
    }
}
