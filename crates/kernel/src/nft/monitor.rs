use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use super::error::Error;
use super::message::SUBSYSTEM;
use crate::netlink::{Bus, Message, Socket, attributes};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// `NFT_MSG_NEWGEN`: the end of a transaction, with who made it.
const NEW_GENERATION: u16 = 15;

/// Somebody else changed one of our tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChange {
    /// The table.
    pub table: String,
    /// The name of the process, as `/proc/PID/comm` has it; empty where the
    /// kernel did not say.
    pub process: String,
    /// Its process id in our namespace; 0 where the kernel did not say.
    pub pid: u32,
}

/// Watches tables for changes that others make.
#[derive(Debug)]
pub struct NftMonitor {
    socket: Socket,
    tables: Vec<String>,
    own_ports: Vec<u32>,
    /// Tables that the transaction being read has touched.
    touched: BTreeSet<String>,
}

impl NftMonitor {
    /// Watches these tables in the calling thread's network namespace; changes
    /// from `own_ports` ([`super::Nft::port`]) are ours.
    ///
    /// # Errors
    /// Failures of the socket, or missing privileges.
    pub fn open(tables: &[&str], own_ports: &[u32]) -> Result<Self, Error> {
        let socket = Socket::open(Bus::Netfilter)?;
        socket.join(GROUP)?;
        Ok(Self {
            socket,
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            own_ports: own_ports.to_vec(),
            touched: BTreeSet::new(),
        })
    }

    /// Changes from these ports are ours from now on, and no others.
    pub fn own(&mut self, ports: &[u32]) {
        self.own_ports = ports.to_vec();
    }

    /// The foreign changes since the last call, without waiting. Where the
    /// kernel lost notifications, every table counts as changed.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn changes(&mut self) -> Result<Vec<ForeignChange>, Error> {
        let Some(messages) = self.socket.notifications()? else {
            self.touched.clear();
            return Ok(self.tables.iter().map(|table| unknown(table)).collect());
        };
        let mut changes = Vec::new();
        for message in messages.iter() {
            self.read(&message, &mut changes);
        }
        Ok(changes)
    }

    fn read(&mut self, message: &Message<'_>, changes: &mut Vec<ForeignChange>) {
        if message.kind >> 8 != SUBSYSTEM {
            return;
        }
        let body = message.body.get(4..).unwrap_or_default();
        if message.kind & 0xff == NEW_GENERATION {
            let find = |kind| attributes(body).find(|attribute| attribute.kind == kind);
            for table in std::mem::take(&mut self.touched) {
                changes.push(ForeignChange {
                    table,
                    pid: find(2).map_or(0, |pid| pid.number()),
                    process: find(3).map_or_else(String::new, |name| name.text().to_owned()),
                });
            }
            return;
        }
        // The first attribute of every other message is the table's name.
        let table = attributes(body)
            .find(|attribute| attribute.kind == 1)
            .map_or("", |attribute| attribute.text());
        let ours = self.tables.iter().any(|name| name == table);
        if ours && !self.own_ports.contains(&message.port) {
            self.touched.insert(table.to_owned());
        }
    }
}

impl AsFd for NftMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn unknown(table: &str) -> ForeignChange {
    ForeignChange {
        table: table.to_owned(),
        process: String::new(),
        pid: 0,
    }
}
