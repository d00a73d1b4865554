//! The agent on simulated hosts, by way of its wire protocol.

#[cfg(test)]
mod change;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod session;
#[cfg(test)]
mod support;
