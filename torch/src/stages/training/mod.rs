//! The shared parts of the stages that train: reading their inputs ([`inputs`]), the adapter's initial values
//! ([`start`]) and description ([`info`]), checkpoints ([`checkpoint`]), progress ([`watch`]) and the tables that they
//! write ([`curves`]).

pub(super) mod checkpoint;
pub(super) mod curves;
pub(super) mod info;
pub(super) mod inputs;
pub(super) mod start;
pub(super) mod watch;
