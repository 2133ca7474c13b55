//! Detection of ONNX models that have weights in further files.
//!
//! Source: `onnx.proto3` of ONNX 1.17 for the numbers of the fields.

use super::protobuf::{Field, Fields};

/// Messages nest no deeper in a model that ONNX Runtime loads.
const DEPTH: usize = 64;

/// Messages on the way to a tensor.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

/// Returns `true` where a tensor of the model is kept in another file. What cannot be read is none: ONNX Runtime says why.
pub(super) fn has_external_data(model: &[u8]) -> bool {
    is_in(Message::Model, model, DEPTH)
}

fn is_in(message: Message, bytes: &[u8], depth: usize) -> bool {
    // The nesting of a hostile file is bounded, so the stack is.
    let Some(depth) = depth.checked_sub(1) else { return false };
    for numbered in Fields(bytes) {
        let found = match (message, numbered.number, numbered.field) {
            // external_data, and data_location EXTERNAL.
            (Message::Tensor, 13, Field::Bytes(_)) | (Message::Tensor, 14, Field::Number(1)) => true,
            (message, number, Field::Bytes(part)) => {
                below(message, number).is_some_and(|message| is_in(message, part, depth))
            }
            _ => false,
        };
        if found {
            return true;
        }
    }
    false
}

/// Returns the message in a field, where tensors may be in it.
fn below(message: Message, field: u64) -> Option<Message> {
    // Field numbers of onnx.proto3; messages without tensors inside are skipped unread.
    Some(match (message, field) {
        (Message::Model, 7) | (Message::Attribute, 6 | 11) => Message::Graph,
        (Message::Model, 25) => Message::Function,
        (Message::Function, 7) | (Message::Graph, 1) => Message::Node,
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::SparseTensor, 1 | 2) => {
            Message::Tensor
        }
        (Message::Graph, 15) | (Message::Attribute, 22 | 23) => Message::SparseTensor,
        (Message::Node, 5) => Message::Attribute,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
    }

    #[test]
    fn tensors_in_other_files_are_found_wherever_they_stand() {
        let inside = field(9, &[0, 0, 128, 63]);
        let located = field(13, &field(1, b"location"));
        let marked = vec![14 << 3, 1];
        let in_attribute = |tensor: &[u8]| field(1, &field(5, &field(5, tensor)));
        let in_branch = |tensor: &[u8]| field(1, &field(5, &field(6, &field(5, tensor))));
        for (name, graph, external) in [
            ("none", Vec::new(), false),
            ("a weight inside", field(5, &inside), false),
            ("a weight elsewhere", field(5, &[inside.clone(), located.clone()].concat()), true),
            ("a weight marked so", field(5, &marked), true),
            ("a weight marked as inside", field(5, &[14 << 3, 0]), false),
            ("a constant", in_attribute(&located), true),
            ("a constant inside", in_attribute(&inside), false),
            ("of a branch", in_branch(&located), true),
            ("sparse", field(15, &field(1, &located)), true),
            ("another field of that number", field(13, &field(1, b"location")), false),
        ] {
            assert_eq!(has_external_data(&field(7, &graph)), external, "{name}");
        }
    }

    #[test]
    fn rubbish_ends_the_search() {
        let endless = [0xff; 20];
        for rubbish in [&b""[..], b"<html>", &endless, &[7 << 3 | 2, 200, 1]] {
            assert!(!has_external_data(rubbish), "{rubbish:?}");
        }
    }
}
