//! Tidy: the rules of this repository that a program can check. Each failure says what to do.
//!
//! The rules are those of ARCHITECTURE.md. Changing one of the tables here is changing the architecture: say why in
//! the commit.

mod deck;
mod dependencies;
mod files;
mod links;
mod refusals;
mod sources;
