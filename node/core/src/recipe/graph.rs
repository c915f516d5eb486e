//! How the nodes of a recipe hang together.
//!
//! What always holds after [`check`] found nothing: every input and the output name a node, every
//! SOURCE names a declared input, every node has as many inputs as its type takes, and following
//! inputs never comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::errors::{RecipeError, enough, one_of};
use super::outline::{self, Outline};
use super::{Node, NodeType};

/// Looks along every reference.
pub(crate) fn check(outline: &Outline, errors: &mut Vec<RecipeError>) {
    let ids = || outline.ids.iter().map(String::as_str);
    for (node, places) in outline.recipe.nodes.iter().zip(&outline.input_places) {
        for (input, &place) in node.inputs.iter().zip(places) {
            if enough(errors) {
                return;
            }
            if !outline.ids.contains(input) {
                let message = format!("no node has the id {input:?}");
                let others = ids().filter(|id| *id != node.id);
                errors.push(RecipeError::new(place, message, one_of(input, others)));
            }
        }
        errors.extend(wrong_count(node));
        errors.extend(undeclared_input(node, outline));
    }
    let output = &outline.recipe.output;
    if !output.is_empty() && !outline.ids.contains(output) {
        let message = format!("no node has the id {output:?}");
        errors.push(RecipeError::new(outline.output_place, message, one_of(output, ids())));
    }
    if let Err(cycle) = order(&outline.recipe.nodes) {
        errors.push(cycle_error(&outline.recipe.nodes, &cycle));
    }
}

fn wrong_count(node: &Node) -> Option<RecipeError> {
    if outline::is_whole(node) {
        return None;
    }
    let counted = |count: usize| {
        if count == 1 { "1 input".to_owned() } else { format!("{count} inputs") }
    };
    let (takes, instead) = match node.kind.schema().inputs {
        (0, 0) => ("no inputs".to_owned(), "no inputs here".to_owned()),
        (fewest, most) if fewest == most => (counted(fewest), format!("inputs: [{}]", vec!["id"; fewest].join(", "))),
        (fewest, most) => {
            (format!("{fewest} to {most} inputs"), format!("inputs: [{}, ...]", vec!["id"; fewest].join(", ")))
        }
    };
    let message = format!("{} takes {takes}, node {:?} has {}", node.kind, node.id, node.inputs.len());
    Some(RecipeError::new(node.place, message, instead))
}

fn undeclared_input(node: &Node, outline: &Outline) -> Option<RecipeError> {
    let declared = &outline.recipe.inputs;
    let (name, place) = node.source_value()?;
    if node.kind != NodeType::Source || declared.contains_key(name) {
        return None;
    }
    let message = format!("no input is called {name:?}");
    let instead = if declared.is_empty() {
        format!("inputs: {{ {name}: {{}} }} at the top of the file")
    } else {
        format!("{}, or declare it under inputs", one_of(name, declared.keys().map(String::as_str)))
    };
    Some(RecipeError::new(place, message, instead))
}

fn cycle_error(nodes: &[Node], cycle: &[usize]) -> RecipeError {
    let ids: Vec<&str> = cycle.iter().map(|&index| nodes[index].id.as_str()).collect();
    // A cycle of hundreds tells no more than its first few.
    let shown = match ids.as_slice() {
        many if many.len() > 12 => format!("{}, ...", many[..12].join(" needs ")),
        few => few.join(" needs "),
    };
    let message = format!("a cycle: {shown} needs {}", ids[0]);
    let instead = format!("other inputs for {:?}, so that no node needs itself", ids[0]);
    RecipeError::new(nodes[cycle[0]].place, message, instead)
}

/// The nodes so that inputs come first, else in the order of the file; or one cycle, each node
/// needing the next and the last the first. Unknown inputs are passed over.
pub(crate) fn order(nodes: &[Node]) -> Result<Vec<usize>, Vec<usize>> {
    let index: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(index, node)| (node.id.as_str(), index)).collect();
    let needs =
        |node: &Node| -> Vec<usize> { node.inputs.iter().filter_map(|id| index.get(id.as_str()).copied()).collect() };
    let mut waiting: Vec<usize> = nodes.iter().map(|node| needs(node).len()).collect();
    let mut consumers = vec![Vec::new(); nodes.len()];
    for (consumer, node) in nodes.iter().enumerate() {
        for input in needs(node) {
            consumers[input].push(consumer);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&node| waiting[node] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for &consumer in &consumers[next] {
            waiting[consumer] -= 1;
            if waiting[consumer] == 0 {
                ready.insert(consumer);
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    // Every node left over needs another one left over, so walking comes back to itself.
    let first = (0..nodes.len()).find(|&node| waiting[node] > 0).expect("a node is left over");
    let mut walk = vec![first];
    loop {
        let last = walk[walk.len() - 1];
        let next = needs(&nodes[last]).into_iter().find(|&input| waiting[input] > 0);
        let next = next.expect("a node left over waits for one left over");
        if let Some(start) = walk.iter().position(|&seen| seen == next) {
            let mut cycle = walk.split_off(start);
            let lowest = (0..cycle.len()).min_by_key(|&at| cycle[at]).unwrap_or(0);
            cycle.rotate_left(lowest);
            return Err(cycle);
        }
        walk.push(next);
    }
}
