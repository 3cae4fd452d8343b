//! Which pods are attached, kept in a file: an agent that starts again knows the
//! addresses of a pod whose status does not say them yet, and so never opens
//! what was closed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use podway_cni::agent_protocol::Attachment;
use podway_model::ObjectName;

use crate::files;

/// The attachments of this node by sandbox and interface, and their file.
#[derive(Debug)]
pub(crate) struct Attachments {
    file: PathBuf,
    known: BTreeMap<(String, String), Attachment>,
}

impl Attachments {
    /// Reads the file of a state folder. One that is not there or not readable
    /// as such is as an empty one: pods' statuses say nearly the same.
    pub(crate) fn read(state_dir: &Path) -> Self {
        let file = state_dir.join("attachments.json");
        let listed: Vec<Attachment> = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "attachments not read");
                Vec::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "attachments not read");
                Vec::new()
            }
        };
        let known = listed.into_iter().map(|a| (key(&a), a)).collect();
        Self { file, known }
    }

    pub(crate) fn list(&self) -> impl Iterator<Item = &Attachment> {
        self.known.values()
    }

    /// Adds an attachment, in memory and in the file. A pod has one sandbox: what
    /// is known of an older one is no longer true.
    pub(crate) fn add(&mut self, attachment: &Attachment) -> io::Result<()> {
        self.known.retain(|_, known| {
            pod_of(known) != pod_of(attachment) || known.ifname != attachment.ifname
        });
        self.known.insert(key(attachment), attachment.clone());
        self.write()
    }

    /// Takes an attachment out and returns it.
    pub(crate) fn remove(
        &mut self,
        container_id: &str,
        ifname: &str,
    ) -> io::Result<Option<Attachment>> {
        let key = (container_id.to_owned(), ifname.to_owned());
        let Some(removed) = self.known.remove(&key) else {
            return Ok(None);
        };
        self.write()?;
        Ok(Some(removed))
    }

    /// Takes out those of pods that no longer exist, and returns them.
    pub(crate) fn prune(&mut self, exists: impl Fn(&Attachment) -> bool) -> Vec<Attachment> {
        let gone: Vec<Attachment> = self.list().filter(|a| !exists(a)).cloned().collect();
        for attachment in &gone {
            self.known.remove(&key(attachment));
        }
        if !gone.is_empty()
            && let Err(error) = self.write()
        {
            tracing::warn!(file = %self.file.display(), %error, "attachments not written");
        }
        gone
    }

    fn write(&self) -> io::Result<()> {
        let listed: Vec<&Attachment> = self.list().collect();
        let text = serde_json::to_string_pretty(&listed)?;
        files::replace(&self.file, &text)
    }
}

/// The name of the pod that an attachment is of.
pub(crate) fn pod_of(attachment: &Attachment) -> ObjectName {
    ObjectName::new(attachment.namespace.as_str(), attachment.name.as_str())
}

fn key(attachment: &Attachment) -> (String, String) {
    (attachment.container_id.clone(), attachment.ifname.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(sandbox: &str, pod: &str) -> Attachment {
        Attachment {
            namespace: "x".to_owned(),
            name: pod.to_owned(),
            uid: format!("uid-{pod}"),
            container_id: sandbox.to_owned(),
            ifname: "eth0".to_owned(),
            addresses: vec!["10.0.0.2".parse().unwrap()],
        }
    }

    #[test]
    fn attachments_outlive_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let mut attachments = Attachments::read(folder.path());
        attachments.add(&attachment("s1", "a")).unwrap();
        attachments.add(&attachment("s2", "b")).unwrap();
        attachments.add(&attachment("s3", "c")).unwrap();
        assert!(attachments.remove("s2", "eth0").unwrap().is_some());
        assert!(attachments.remove("s2", "eth0").unwrap().is_none());

        attachments.add(&attachment("s4", "c")).unwrap();
        assert!(
            attachments.remove("s3", "eth0").unwrap().is_none(),
            "an older sandbox"
        );

        let mut again = Attachments::read(folder.path());
        let pods: Vec<_> = again.list().map(|a| a.name.clone()).collect();
        assert_eq!(pods, ["a", "c"]);
        assert_eq!(again.prune(|a| a.name == "a"), [attachment("s4", "c")]);
        assert_eq!(Attachments::read(folder.path()).list().count(), 1);
    }

    #[test]
    fn a_broken_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("attachments.json"), "[{").unwrap();
        assert_eq!(Attachments::read(folder.path()).list().count(), 0);
    }
}
