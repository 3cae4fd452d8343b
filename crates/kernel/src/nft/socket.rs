use nix::errno::Errno;

use super::Nftables;
use super::dump::{self, Count, TableDump};
use super::error::Error;
use super::field::Family;
use super::message::{self, Batch};
use super::transaction::{Operation, Transaction, Written};
use crate::netlink::{Answer, Bus, Socket};

/// How much of an operation an error quotes.
const QUOTED: usize = 200;

/// nf_tables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    written: Written,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: Socket::open(Bus::Netfilter)?,
            written: Written::default(),
        })
    }

    /// The port that notifications name as the origin of our own changes.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Removes a table of one family, and not of `inet` as all of ours are; false
    /// where there is none.
    ///
    /// # Errors
    /// Failures of the socket, or what the kernel refuses.
    pub fn delete_table_of(&mut self, family: Family, table: &str) -> Result<bool, Error> {
        let mut transaction = Transaction::new(table);
        transaction.push(Operation::DeleteTable);
        match self.send(&transaction, family.number()) {
            Ok(_) => Ok(true),
            Err(Error::Refused {
                errno: Errno::ENOENT,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, transaction: &Transaction, family: u8) -> Result<Written, Error> {
        let first = self.socket.sequence(0);
        let batch = message::encode(transaction, family, first)?;
        if batch.operations.is_empty() {
            return Ok(Written::default());
        }
        let messages = u32::try_from(batch.operations.len()).unwrap_or(u32::MAX);
        self.socket.sequence(messages);
        let answers = self.socket.batch(&batch.bytes)?;
        Self::judge(transaction, &batch, answers)?;
        let written = Written {
            transactions: 1,
            messages: u64::from(messages),
            elements: transaction.elements() as u64,
        };
        tracing::trace!(
            table = &*transaction.table,
            messages,
            elements = written.elements,
            bytes = batch.bytes.len(),
            "nf_tables transaction"
        );
        self.written += written;
        Ok(written)
    }

    fn judge(transaction: &Transaction, batch: &Batch, answers: Vec<Answer>) -> Result<(), Error> {
        let table = || transaction.table.to_string();
        let mut acknowledged = false;
        for answer in answers {
            let Some((errno, reason)) = answer.error else {
                acknowledged |= answer.sequence == batch.last;
                continue;
            };
            let message = answer.sequence.wrapping_sub(batch.first) as usize;
            let operation = message
                .checked_sub(1)
                .and_then(|message| batch.operations.get(message));
            // The opening message stands for the commit of the whole.
            let Some(&index) = operation else {
                return Err(Error::Aborted {
                    table: table(),
                    errno,
                });
            };
            return Err(Error::Refused {
                table: table(),
                operation: quote(transaction, index),
                index,
                errno,
                reason,
            });
        }
        if acknowledged {
            Ok(())
        } else {
            Err(Error::Aborted {
                table: table(),
                errno: Errno::EIO,
            })
        }
    }
}

fn quote(transaction: &Transaction, index: usize) -> String {
    let single = Transaction {
        table: transaction.table.clone(),
        operations: vec![transaction.operations[index].clone()],
    };
    let text = single.to_string();
    let text = text.trim_end();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Nftables for Nft {
    fn apply(&mut self, transaction: &Transaction) -> Result<Written, Error> {
        self.send(transaction, message::FAMILY_INET)
    }

    fn dump(&mut self, table: &str) -> Result<Option<TableDump>, Error> {
        dump::read(&mut self.socket, table)
    }

    fn counts(&mut self, table: &str, set: &str) -> Result<Vec<Count>, Error> {
        dump::read_counts(&mut self.socket, table, set)
    }

    fn written(&self) -> Written {
        self.written
    }
}
