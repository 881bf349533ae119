//! [`request`]: the recipe of a node without the content of its inputs. On different hardware, keys differ after the
//! first stage that computes with floating-point numbers. Requests do not, and they are known before anything runs.

use std::collections::BTreeMap;

use crate::base::diag::Diag;
use crate::base::digest::FieldHasher;
use crate::cache::Store;
use crate::cache::recipe::FieldContent;
use crate::engine::graph::{Graph, NodeId};
use crate::engine::key;
use crate::engine::prepare::sources;
use crate::stages::stage::Outside;

/// Returns the request of a node: kind, version, parameters, digests of working-tree files, and the role and axis
/// values of each input. Names are those of the recipe's fields. Values are texts, which differ for values of different
/// types.
///
/// # Errors
/// Fails if a file of the working tree cannot be read.
pub fn request(graph: &Graph, id: NodeId, store: &Store, outside: &Outside) -> Result<BTreeMap<String, String>, Diag> {
    let node = graph.node(id);
    let identity = node.kind.identity.map(|of| of(&node.params, outside)).transpose()?.unwrap_or_default();
    let sources = sources(node, &identity, store)?;
    let recipe = key::recipe(node, &identity, &sources, &[]);
    let mut request: BTreeMap<String, String> = recipe
        .fields()
        .iter()
        .map(|field| {
            let text = match &field.content {
                FieldContent::Digest(digest) => digest.hex(),
                other => other.to_string(),
            };
            (field.name.to_string(), text)
        })
        .collect();
    let mut inputs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (from, port) in graph.producers(id) {
        let mut axes = graph.node(from).axes.clone();
        axes.sort();
        let at: Vec<_> = axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        inputs.entry(&port.role).or_default().push(at.join(","));
    }
    for (role, mut producers) in inputs {
        producers.sort();
        let text = match &producers[..] {
            [one] => format!("[{one}]"),
            many => {
                let mut h = FieldHasher::new("dpt.inputs.1");
                for at in many {
                    h.field(at.as_bytes());
                }
                format!("{} nodes {}", many.len(), h.finish())
            }
        };
        request.insert(format!("input.{role}"), text);
    }
    Ok(request)
}
