//! The redb file: every object under its key, and the revision.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Change, Object, Objects, StoreError};

/// `resource NUL namespace NUL name` -> JSON. NUL is in no Kubernetes name.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// `format` and `revision`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// The durable side of the store.
pub(crate) struct Log {
    path: PathBuf,
    /// `None` after a failure: redb refuses to go on with a file that it could
    /// not write, until the file is opened anew.
    database: Option<Database>,
    /// Keys of failed commits with what memory holds for them. Whether such a
    /// commit is on disk is not known, so the next one writes them again.
    unsure: BTreeMap<String, Option<Arc<Object>>>,
}

impl Log {
    /// Opens or creates the file and reads all of it.
    pub(crate) fn open(path: &Path) -> Result<(Log, Objects), StoreError> {
        let opened = |source: redb::Error| StoreError::Open {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let mut database = Database::create(path).map_err(|error| opened(error.into()))?;
        // Deleted and rewritten objects leave holes (twice the data, measured):
        // nobody waits for the file yet, so this is the moment to close them.
        database.compact().map_err(|error| opened(error.into()))?;
        prepare(&database).map_err(|error| opened(*error))?;
        let objects = read(&database)
            .map_err(|error| opened(*error))?
            .map_err(|why| StoreError::Content {
                path: path.to_owned(),
                why,
            })?;
        let log = Log {
            path: path.to_owned(),
            database: Some(database),
            unsure: BTreeMap::new(),
        };
        Ok((log, objects))
    }

    /// Makes `changes` durable, all or none.
    pub(crate) fn commit(&mut self, changes: &[Change], revision: u64) -> Result<(), redb::Error> {
        let outcome = self.try_commit(changes, revision).map_err(|error| *error);
        if outcome.is_ok() {
            self.unsure.clear();
            return Ok(());
        }
        self.database = None;
        // The oldest state wins: a key changed twice goes back to the first.
        for change in changes.iter().rev() {
            self.unsure.insert(key(change), change.before.clone());
        }
        outcome
    }

    fn try_commit(&mut self, changes: &[Change], revision: u64) -> Result<(), Box<redb::Error>> {
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::open(&self.path).map_err(boxed)?,
        };
        let database = self.database.insert(database);
        let transaction = database.begin_write().map_err(boxed)?;
        {
            let mut table = transaction.open_table(OBJECTS).map_err(boxed)?;
            let mut write = |key: &str, object: Option<&Arc<Object>>| {
                match object {
                    Some(object) => table.insert(key, object.json().as_ref()),
                    None => table.remove(key),
                }
                .map(drop)
                .map_err(boxed)
            };
            for (key, object) in &self.unsure {
                write(key, object.as_ref())?;
            }
            for change in changes {
                write(&key(change), change.after())?;
            }
            let mut meta = transaction.open_table(META).map_err(boxed)?;
            meta.insert("revision", revision).map_err(boxed)?;
        }
        transaction.commit().map_err(boxed)
    }
}

/// redb has an error type for each call; they are 100 bytes and more.
fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

fn key(change: &Change) -> String {
    let object = &change.object;
    format!(
        "{}\0{}\0{}",
        change.resource,
        object.namespace(),
        object.name()
    )
}

/// A new file gets its tables and its format.
fn prepare(database: &Database) -> Result<(), Box<redb::Error>> {
    let transaction = database.begin_write().map_err(boxed)?;
    {
        transaction.open_table(OBJECTS).map_err(boxed)?;
        let mut meta = transaction.open_table(META).map_err(boxed)?;
        if meta.get("format").map_err(boxed)?.is_none() {
            meta.insert("format", FORMAT).map_err(boxed)?;
            meta.insert("revision", 0).map_err(boxed)?;
        }
    }
    transaction.commit().map_err(boxed)
}

/// The whole file; the inner error says what is wrong with its content.
fn read(database: &Database) -> Result<Result<Objects, String>, Box<redb::Error>> {
    let transaction = database.begin_read().map_err(boxed)?;
    let meta = transaction.open_table(META).map_err(boxed)?;
    let number = |name: &str| -> Result<Option<u64>, Box<redb::Error>> {
        Ok(meta.get(name).map_err(boxed)?.map(|entry| entry.value()))
    };
    match number("format")? {
        Some(FORMAT) => {}
        other => {
            return Ok(Err(format!(
                "its format is {other:?}, this version reads {FORMAT}"
            )));
        }
    }
    let mut objects = Objects::at(number("revision")?.unwrap_or_default());
    let table = transaction.open_table(OBJECTS).map_err(boxed)?;
    for entry in table.iter().map_err(boxed)? {
        let (key, json) = entry.map_err(boxed)?;
        let Some(object) = Object::decode(json.value()) else {
            return Ok(Err(format!(
                "the object under {:?} is not one",
                key.value()
            )));
        };
        let resource = key.value().split('\0').next().unwrap_or_default();
        let object = Arc::new(object);
        let place = (object.namespace(), object.name());
        objects.replace(&Arc::from(resource), place, Some(&object));
    }
    Ok(Ok(objects))
}
