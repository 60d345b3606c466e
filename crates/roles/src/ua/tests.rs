//! The user agent in a real engine, against a scripted peer or another phone, on virtual time.

mod attended;
mod bench;
mod callee;
mod caller;
mod calls;
mod changes;
mod conference;
mod credentials;
mod flows;
mod forked;
mod hostile;
mod info;
mod music;
mod net;
mod patterns;
mod random;
mod redirects;
mod refusals;
mod registering;
mod transfers;
mod updates;
mod video;
