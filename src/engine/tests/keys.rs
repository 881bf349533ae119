//! One test for each field of a recipe, and for each thing that must not be one.

use super::*;
use crate::base::digest::Digest;
use crate::cache::{CacheKey, FileRecord, Stored};
use crate::engine::graph::EdgePort;
use crate::engine::key::{Producer, recipe, sort};
use crate::stages::stage::Identity;

fn node(kind: &'static StageKind, axes: &[(&str, &str)], params: &[(&str, Value)]) -> Node {
    let mut plan = Plan::default();
    let id = plan.of(kind, "train", axes, params);
    plan.0.node(id).clone()
}

fn key_of(node: &Node) -> CacheKey {
    recipe(node, &Identity::default(), &[], &[]).key()
}

fn key(params: &[(&str, Value)]) -> CacheKey {
    key_of(&node(&TOUCH, &[], params))
}

fn stored(files: &[(&str, &str)]) -> Stored {
    let files = files.iter().map(|(name, content)| {
        let digest = Digest::of(content.as_bytes());
        ((*name).to_owned(), FileRecord { logical: digest, bytes: Digest::of(b"any"), size: 1, executable: false })
    });
    Stored { key: key(&[]), files: files.collect(), numerics: Default::default(), seconds: 0.0 }
}

/// The key of a node that reads `producers`: port, axes, files.
fn reads(producers: &[(&'static Port<'static>, &[(&str, &str)], &[(&str, &str)])]) -> CacheKey {
    let made: Vec<_> = producers.iter().map(|(_, axes, files)| (node(&TOUCH, axes, &[]), stored(files))).collect();
    let ports: Vec<EdgePort> = producers.iter().map(|(port, ..)| (*port).into()).collect();
    let mut producers: Vec<_> =
        ports.iter().zip(&made).map(|(port, (node, stored))| Producer { node, port, stored }).collect();
    sort(&mut producers);
    recipe(&node(&TOUCH, &[], &[]), &Identity::default(), &[], &producers).key()
}

#[test]
fn learning_rate_changes_key() {
    assert_ne!(key(&[("rate", Value::Float(0.3))]), key(&[("rate", Value::Float(0.5))]));
}

#[test]
fn removed_parameter_changes_key() {
    assert_ne!(key(&[("rate", Value::Float(0.3))]), key(&[]));
}

#[test]
fn stage_kind_and_version_change_key() {
    const NEWER: StageKind = StageKind { version: 2, ..TOUCH };
    const OTHER: StageKind = StageKind { name: "other", ..TOUCH };
    let keys = [&TOUCH, &NEWER, &OTHER].map(|kind| key_of(&node(kind, &[], &[])));
    assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
}

#[test]
fn parameter_out_of_key_keeps_key() {
    assert_eq!(key(&[("every", Value::Int(1))]), key(&[("every", Value::Int(2))]));
}

#[test]
fn later_parameter_at_its_default_keeps_key() {
    assert_eq!(key(&[("late", Value::Float(2.0))]), key(&[]));
    assert_ne!(key(&[("late", Value::Float(3.0))]), key(&[]));
    // One that was there from the start counts, default or not.
    assert_ne!(key(&[("text", Value::Str(String::new()))]), key(&[]));
}

#[test]
fn stage_name_axes_resources_and_accept_keep_key() {
    let plain = node(&TOUCH, &[], &[]);
    let resources = Resources { cpu: 4, gpu: 1, retries: 3, backoff: 7, timeout: Some(9) };
    let axes = vec![("task".to_owned(), "rte".to_owned())];
    let other = Node { stage: "other".into(), axes, resources, accept: Accept::Exact, ..plain.clone() };
    assert_eq!(key_of(&plain), key_of(&other));
}

#[test]
fn input_content_changes_key() {
    assert_ne!(reads(&[(&ONE, &[], &[("out.json", "a")])]), reads(&[(&ONE, &[], &[("out.json", "b")])]));
}

#[test]
fn input_file_name_and_role_change_key() {
    let many = |file| reads(&[(&MANY, &[], &[(file, "a")])]);
    assert_ne!(many("a.json"), many("b.json"));
    assert_ne!(reads(&[(&ONE, &[], &[("out.json", "a")])]), many("out.json"));
}

#[test]
fn file_that_the_port_does_not_read_keeps_key() {
    let with = |extra| reads(&[(&ONE, &[], &[("out.json", "a"), ("log.txt", extra)])]);
    assert_eq!(with("x"), with("y"));
}

#[test]
fn absent_producer_is_not_one_without_files() {
    assert_ne!(reads(&[]), reads(&[(&MANY, &[], &[("log.txt", "x")])]));
}

#[test]
fn coordinates_change_key_only_in_a_gather() {
    let gather = |seed| reads(&[(&MANY, &[("seed", seed)], &[("a.json", "x")])]);
    assert_ne!(gather("1"), gather("2"));
    let one = |seed| reads(&[(&ONE, &[("seed", seed)], &[("out.json", "x")])]);
    assert_eq!(one("1"), one("2"));
}

#[test]
fn stage_of_a_gathered_producer_changes_key() {
    let named = |port: &Port, stage: &str| {
        let (made, from) = (stored(&[("out.json", "x")]), Node { stage: stage.into(), ..node(&TOUCH, &[], &[]) });
        let producers = [Producer { node: &from, port: &port.into(), stored: &made }];
        recipe(&node(&TOUCH, &[], &[]), &Identity::default(), &[], &producers).key()
    };
    assert_ne!(named(&MANY, "eval"), named(&MANY, "score"));
    assert_eq!(named(&ONE, "eval"), named(&ONE, "score"));
}

#[test]
fn order_of_producers_and_of_axes_keeps_key() {
    let a: (&'static Port<'static>, &[(&str, &str)], &[(&str, &str)]) =
        (&MANY, &[("task", "rte"), ("seed", "9")], &[("a.json", "x")]);
    let b: (&'static Port<'static>, &[(&str, &str)], &[(&str, &str)]) =
        (&MANY, &[("task", "cb"), ("seed", "10")], &[("a.json", "y")]);
    let c: (&'static Port<'static>, &[(&str, &str)], &[(&str, &str)]) =
        (&MANY, &[("seed", "10"), ("task", "cb")], &[("a.json", "y")]);
    assert_eq!(reads(&[a, b]), reads(&[b, a]));
    assert_eq!(reads(&[a, b]), reads(&[a, c]));
}

#[test]
fn coordinates_cannot_be_shifted() {
    let one = reads(&[(&MANY, &[("a", "1,b=2")], &[("x.json", "x")])]);
    let two = reads(&[(&MANY, &[("a", "1"), ("b", "2")], &[("x.json", "x")])]);
    assert_ne!(one, two);
}

#[test]
fn seeds_are_gathered_as_numbers() {
    let nodes = ["10", "9", "b", "1"].map(|seed| node(&TOUCH, &[("seed", seed)], &[]));
    let made = stored(&[]);
    let port = EdgePort::from(&MANY);
    let mut producers: Vec<_> = nodes.iter().map(|node| Producer { node, port: &port, stored: &made }).collect();
    sort(&mut producers);
    let order: Vec<_> = producers.iter().map(|p| p.node.axes[0].1.as_str()).collect();
    assert_eq!(order, ["1", "9", "10", "b"]);
}

#[test]
fn identity_replaces_parameters_and_adds_file_contents() {
    let node = node(&TOUCH, &[], &[text("file:/home/me/data")]);
    let identity = |value| Identity { params: vec![("text", value)], files: vec![] };
    let with = |identity: &Identity, sources: &[(String, Digest)]| recipe(&node, identity, sources, &[]).key();
    let moved = Node {
        params: std::sync::Arc::new([("text".to_owned(), Value::Str("file:/elsewhere".into()))].into()),
        ..node.clone()
    };
    assert_eq!(with(&identity(None), &[]), recipe(&moved, &identity(None), &[], &[]).key());
    assert_ne!(with(&identity(None), &[]), with(&identity(Some(Value::Int(1))), &[]));
    let source = |name: &str, content: &str| [(name.to_owned(), Digest::of(content.as_bytes()))];
    let keys = [source("a", "x"), source("a", "y"), source("b", "x")].map(|s| with(&identity(None), &s));
    assert!(keys[0] != keys[1] && keys[0] != keys[2]);
}
