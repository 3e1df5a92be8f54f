//! The Open Inference Protocol, version 2, over REST, with its extension for binary data.
#![allow(dead_code)] // The routes come next.

mod infer;
mod request;
mod tensors;
#[cfg(test)]
mod tests;
