//! Bearer tokens.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::files;
use crate::Error;

/// Who talks to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// A person, through kubectl or podway.
    Admin,
    /// An agent or kubelet.
    Node,
}

impl User {
    /// Its name in kubeconfigs and logs.
    pub fn name(self) -> &'static str {
        match self {
            User::Admin => "admin",
            User::Node => "node",
        }
    }
}

/// The tokens of all users.
pub(crate) struct Tokens {
    known: [(User, String); 2],
}

impl Tokens {
    pub(super) fn open(dir: &Path) -> Result<Tokens, Error> {
        let known = [
            (User::Admin, read_or_make(dir, User::Admin)?),
            (User::Node, read_or_make(dir, User::Node)?),
        ];
        Ok(Tokens { known })
    }

    /// The token of `user`.
    pub(crate) fn of(&self, user: User) -> &str {
        let [(_, admin), (_, node)] = &self.known;
        match user {
            User::Admin => admin,
            User::Node => node,
        }
    }

    /// Whose token this is. Digests are compared, so the time that it takes
    /// tells nothing about how much of a guess was right.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        let presented = Sha256::digest(token);
        let mut found = None;
        for (user, known) in &self.known {
            if Sha256::digest(known) == presented {
                found = Some(*user);
            }
        }
        found
    }
}

fn read_or_make(dir: &Path, user: User) -> Result<String, Error> {
    let path = dir.join(format!("{}.token", user.name()));
    if let Some(text) = files::read(&path)? {
        let token = text.trim();
        if token.len() < 32 {
            let why = "a token has at least 32 characters".to_owned();
            return Err(Error::Damaged { path, why });
        }
        return Ok(token.to_owned());
    }
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    files::write_private(&path, &token)?;
    Ok(token)
}
