//! Removing a lab, or what is left of one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use podway_kernel::netns::{self, NetNs};

use crate::belonging::Belonging;
use crate::lock::Lock;
use crate::paths::LabPaths;
use crate::step::{Outcome, Step};
use crate::up::require_root;
use crate::{Error, LabName, marks};

/// Removes everything of the lab, also after a crash and from half-made
/// states, and nothing else. Returns how many things there were; 0 means that
/// there was no such lab.
///
/// # Errors
/// When not root, or with the first thing that could not be removed, after
/// trying all others.
pub fn down(name: &LabName, progress: &mut dyn FnMut(Step)) -> Result<usize, Error> {
    require_root("stop")?;
    let _lock = Lock::take(name)?;
    let mut removal = Removal {
        count: 0,
        failure: Ok(()),
        progress,
    };
    let paths = LabPaths::new(name);
    // Processes first: they hold namespaces, mounts and files.
    removal.processes(name, &paths);
    let pods = pod_namespaces(&paths);
    for path in &pods {
        removal.take(
            format!("namespace {}", path.display()),
            netns::delete_at(path).map_err(Error::from),
        );
    }
    for namespace in namespaces(name, &mut removal.failure) {
        removal.take(
            format!("namespace {namespace}"),
            netns::delete(&namespace).map_err(Error::from),
        );
    }
    let folder = paths.root();
    removal.take(
        format!("folder {}", folder.display()),
        remove_folder(folder),
    );
    removal.failure.map(|()| removal.count)
}

/// What was removed so far, and the first failure.
struct Removal<'a> {
    count: usize,
    failure: Result<(), Error>,
    progress: &'a mut dyn FnMut(Step),
}

impl Removal<'_> {
    fn take(&mut self, object: String, removed: Result<bool, Error>) {
        match removed {
            Ok(true) => {
                self.count += 1;
                (self.progress)(Step::new(object, Outcome::Removed));
            }
            Ok(false) => {}
            Err(error) => {
                if self.failure.is_ok() {
                    self.failure = Err(error);
                }
            }
        }
    }

    /// Ends what carries the lab's marks or is in one of its namespaces.
    fn processes(&mut self, name: &LabName, paths: &LabPaths) {
        // Open until all processes have ended: an id that is not held may be
        // given to a namespace of somebody else.
        let held: Vec<NetNs> = namespaces(name, &mut self.failure)
            .iter()
            .filter_map(|namespace| NetNs::named(namespace).ok())
            .chain(
                pod_namespaces(paths)
                    .into_iter()
                    .filter_map(|path| NetNs::open(path).ok()),
            )
            .collect();
        let marks = marks::of_lab(name, paths);
        let belonging = Belonging {
            namespaces: held
                .iter()
                .filter_map(|namespace| namespace.id().ok())
                .collect(),
            marks: marks
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            spared: ancestors(),
        };
        match belonging.end_all() {
            Ok(ended) => {
                for (pid, program) in ended {
                    self.take(format!("process {program} ({pid})"), Ok(true));
                }
            }
            Err(error) => {
                let failed = Error::io(format!("end the processes of lab {name}"))(error);
                self.take(String::new(), Err(failed));
            }
        }
    }
}

/// The lab's named namespaces that there are, broken ones included.
fn namespaces(name: &LabName, failure: &mut Result<(), Error>) -> Vec<String> {
    let folder = Path::new(netns::NAMED_DIRECTORY);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            *failure = Err(Error::io(format!("read {}", folder.display()))(error));
            return Vec::new();
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|namespace| name.place_of(namespace).is_some())
        .collect();
    names.sort();
    names
}

/// The bind mounts of pods' namespaces, on every node.
fn pod_namespaces(paths: &LabPaths) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let nodes = entries(paths.root());
    nodes
        .iter()
        .flat_map(|node| entries(&node.join("netns")))
        .collect()
}

fn remove_folder(folder: &Path) -> Result<bool, Error> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("remove {}", folder.display()))(error)),
    }
}

/// The processes that this one runs under: a shell in one of the lab's
/// namespaces from which `down` was typed outlives it.
fn ancestors() -> Vec<i32> {
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ')
            .nth(1)?
            .parse()
            .ok()
            .filter(|&parent| parent > 0)
    };
    let own = i32::try_from(std::process::id()).ok();
    std::iter::successors(own, parent).collect()
}
