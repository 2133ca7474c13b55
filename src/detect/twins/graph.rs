//! The parts of an ONNX file that making a twin reads and replaces; everything else is kept byte by byte.
//!
//! Source: `onnx.proto3` of ONNX 1.17 for the numbers of the fields.

use std::collections::{HashMap, HashSet};

use crate::detect::protobuf::{Field, Fields, MessageWriter, NumberedField};

/// Element types of `TensorProto.DataType`.
pub(super) mod element {
    pub(crate) const FLOAT: u64 = 1;
    pub(crate) const UINT8: u64 = 2;
    pub(crate) const INT8: u64 = 3;
    pub(crate) const INT32: u64 = 6;
    pub(crate) const FLOAT16: u64 = 10;
}

// Fields of ModelProto, GraphProto and NodeProto.
const MODEL_GRAPH: u64 = 7;
const MODEL_OPSET: u64 = 8;
const MODEL_METADATA: u64 = 14;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const GRAPH_INPUT: u64 = 11;
const GRAPH_OUTPUT: u64 = 12;
const GRAPH_VALUE: u64 = 13;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_NAME: u64 = 3;
const NODE_OPERATOR: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
const NODE_DOMAIN: u64 = 7;

/// A model file, with a view of its graph.
#[derive(Debug, Default)]
pub(super) struct OnnxFile<'a> {
    model: &'a [u8],
    graph: &'a [u8],
    /// Version of the default operator set.
    pub(super) opset: u64,
    /// In the order of execution.
    pub(super) nodes: Vec<OnnxNode<'a>>,
    /// Constant tensors by name: initializers, and the values of `Constant` nodes.
    pub(super) constants: HashMap<&'a str, OnnxTensor<'a>>,
    /// Names of the graph's inputs.
    pub(super) inputs: HashSet<&'a str>,
    /// Names of the graph's outputs.
    pub(super) outputs: HashSet<&'a str>,
}

/// A node of the graph.
#[derive(Clone, Debug, Default)]
pub(super) struct OnnxNode<'a> {
    bytes: &'a [u8],
    pub(super) name: &'a str,
    pub(super) operator: &'a str,
    /// Empty for ONNX's own operators.
    pub(super) domain: &'a str,
    /// An empty name stands for an input that is left out.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
}

/// A constant tensor.
#[derive(Clone, Debug, Default)]
pub(super) struct OnnxTensor<'a> {
    pub(super) dims: Vec<u64>,
    pub(super) element: u64,
    /// `float_data`: packed, or one element per field.
    floats: Vec<&'a [u8]>,
    raw: Option<&'a [u8]>,
}

impl<'a> OnnxFile<'a> {
    /// Reads a model file; `None` where it has no graph, or a name that is no UTF-8.
    pub(super) fn read(model: &'a [u8]) -> Option<Self> {
        let graph = Fields(model).find(|field| field.number == MODEL_GRAPH)?.bytes()?;
        let mut file = Self { model, graph, ..Self::default() };
        for field in Fields(model) {
            if let (MODEL_OPSET, Some(operators)) = (field.number, field.bytes()) {
                file.read_opset(operators)?;
            }
        }
        file.read_graph()?;
        Some(file)
    }

    fn read_opset(&mut self, operators: &'a [u8]) -> Option<()> {
        // OperatorSetIdProto: 1 domain, 2 version. ONNX's own domain has two names.
        if matches!(text_of(operators, 1)?, "" | "ai.onnx") {
            self.opset = number_of(operators, 2).unwrap_or(0);
        }
        Some(())
    }

    fn read_graph(&mut self) -> Option<()> {
        for field in Fields(self.graph) {
            let Some(content) = field.bytes() else { continue };
            match field.number {
                GRAPH_NODE => self.read_node(content)?,
                GRAPH_INITIALIZER => {
                    // TensorProto: 8 name.
                    self.constants.insert(text_of(content, 8)?, OnnxTensor::read(content));
                }
                // ValueInfoProto: 1 name.
                GRAPH_INPUT => drop(self.inputs.insert(text_of(content, 1)?)),
                GRAPH_OUTPUT => drop(self.outputs.insert(text_of(content, 1)?)),
                _ => {}
            }
        }
        Some(())
    }

    fn read_node(&mut self, content: &'a [u8]) -> Option<()> {
        let node = OnnxNode::read(content)?;
        if let ("Constant", [output], Some(value)) = (node.operator, &node.outputs[..], node.constant()) {
            self.constants.insert(output, value);
        }
        self.nodes.push(node);
        Some(())
    }

    /// Returns the file with other nodes, with further initializers and outputs, and with further metadata.
    pub(super) fn rebuilt(&self, edit: &GraphEdit) -> Vec<u8> {
        let graph = self.rebuilt_graph(edit);
        let mut model = MessageWriter::default();
        for field in Fields(self.model) {
            model = if field.number == MODEL_GRAPH {
                model.bytes(MODEL_GRAPH, &graph)
            } else {
                model.copy(&field)
            };
        }
        for (key, value) in &edit.metadata {
            let entry = MessageWriter::default().text(1, key).text(2, value).finish();
            model = model.bytes(MODEL_METADATA, &entry);
        }
        model.finish()
    }

    fn rebuilt_graph(&self, edit: &GraphEdit) -> Vec<u8> {
        let mut graph = MessageWriter::default();
        for field in Fields(self.graph).filter(|field| field.number != GRAPH_NODE && !edit.drops(field)) {
            graph = match field.bytes().filter(|_| edit.makes_half(&field)) {
                Some(input) => {
                    graph.bytes(GRAPH_INPUT, &with_number(input, &VALUE_ELEMENT, element::FLOAT16))
                }
                None => graph.copy(&field),
            };
        }
        for node in &edit.nodes {
            graph = graph.bytes(GRAPH_NODE, node);
        }
        for tensor in &edit.initializers {
            graph = graph.bytes(GRAPH_INITIALIZER, tensor);
        }
        for output in &edit.float_outputs {
            graph = graph.bytes(GRAPH_OUTPUT, &float_scalar(output));
        }
        for output in &edit.untyped_outputs {
            // ValueInfoProto: 1 name. ONNX Runtime infers a type that is missing.
            graph = graph.bytes(GRAPH_OUTPUT, &MessageWriter::default().text(1, output).finish());
        }
        graph.finish()
    }
}

/// The differences between a file and the file that is made of it.
#[derive(Debug, Default)]
pub(super) struct GraphEdit {
    /// All nodes, in the order of execution.
    pub(super) nodes: Vec<Vec<u8>>,
    /// Further initializers.
    pub(super) initializers: Vec<Vec<u8>>,
    /// Names of tensors whose initializers and declared types are left out.
    pub(super) dropped: HashSet<String>,
    /// Names of inputs of the graph that become float16.
    pub(super) half_inputs: HashSet<String>,
    /// Further outputs of the graph: scalars of type float.
    pub(super) float_outputs: Vec<String>,
    /// Further outputs of the graph, of types that the file does not name.
    pub(super) untyped_outputs: Vec<String>,
    /// Further metadata.
    pub(super) metadata: Vec<(&'static str, String)>,
}

impl GraphEdit {
    fn drops(&self, field: &NumberedField<'_>) -> bool {
        // TensorProto: 8 name. ValueInfoProto: 1 name.
        let number = match field.number {
            GRAPH_INITIALIZER => 8,
            GRAPH_VALUE => 1,
            _ => return false,
        };
        let name = field.bytes().and_then(|tensor| text_of(tensor, number));
        name.is_some_and(|name| self.dropped.contains(name))
    }

    fn makes_half(&self, field: &NumberedField<'_>) -> bool {
        let name = field.bytes().and_then(|input| text_of(input, 1));
        field.number == GRAPH_INPUT && name.is_some_and(|name| self.half_inputs.contains(name))
    }
}

impl<'a> OnnxNode<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut node = Self { bytes, ..Self::default() };
        for field in Fields(bytes) {
            let Some(content) = field.bytes() else { continue };
            let text = || std::str::from_utf8(content).ok();
            match field.number {
                NODE_INPUT => node.inputs.push(text()?),
                NODE_OUTPUT => node.outputs.push(text()?),
                NODE_NAME => node.name = text()?,
                NODE_OPERATOR => node.operator = text()?,
                NODE_DOMAIN => node.domain = text()?,
                _ => {}
            }
        }
        Some(node)
    }

    /// Returns `true` for an operator of ONNX itself.
    pub(super) fn is(&self, operator: &str) -> bool {
        self.operator == operator && matches!(self.domain, "" | "ai.onnx")
    }

    /// Returns `true` for a node with graphs of its own (`If`, `Loop`, `Scan`), which may name any tensor of this graph.
    pub(super) fn has_graphs(&self) -> bool {
        let mut attributes = Fields(self.bytes).filter(|field| field.number == NODE_ATTRIBUTE);
        // AttributeProto: 6 a graph, 11 graphs.
        attributes.any(|attribute| {
            Fields(attribute.bytes().unwrap_or_default()).any(|field| matches!(field.number, 6 | 11))
        })
    }

    /// Returns the value of a `Constant` node.
    fn constant(&self) -> Option<OnnxTensor<'a>> {
        let attributes = Fields(self.bytes).filter(|field| field.number == NODE_ATTRIBUTE);
        // AttributeProto: 1 name, 5 the tensor.
        let mut values = attributes.filter_map(|attribute| attribute.bytes());
        let value = values.find(|attribute| text_of(attribute, 1) == Some("value"))?;
        Fields(value).find(|field| field.number == 5)?.bytes().map(OnnxTensor::read)
    }

    /// Returns the node as it is in the file, with the inputs that `replace` names for the existing ones.
    pub(super) fn with_inputs(&self, replace: impl Fn(usize, &str) -> Option<String>) -> Vec<u8> {
        self.with_names(replace, |_| None)
    }

    /// Returns the node as it is in the file, with the inputs and outputs that `input` and `output` name for the existing ones.
    pub(super) fn with_names(
        &self,
        input: impl Fn(usize, &str) -> Option<String>,
        output: impl Fn(&str) -> Option<String>,
    ) -> Vec<u8> {
        let (mut node, mut inputs, mut outputs) =
            (MessageWriter::default(), 0..self.inputs.len(), 0..self.outputs.len());
        for field in Fields(self.bytes) {
            let other = match field.number {
                NODE_INPUT => inputs.next().and_then(|index| input(index, self.inputs[index])),
                NODE_OUTPUT => outputs.next().and_then(|index| output(self.outputs[index])),
                _ => None,
            };
            node = match other {
                Some(other) => node.text(field.number, &other),
                None => node.copy(&field),
            };
        }
        node.finish()
    }
}

impl<'a> OnnxTensor<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut tensor = Self::default();
        // TensorProto: 1 dims, 2 data_type, 4 float_data, 9 raw_data.
        for field in Fields(bytes) {
            match (field.number, field.field) {
                (1, Field::Number(dim)) => tensor.dims.push(dim),
                (1, Field::Bytes(packed)) => tensor.dims.extend(packed_numbers(packed)),
                (2, Field::Number(element)) => tensor.element = element,
                (4, Field::Bytes(values)) => tensor.floats.push(values),
                (9, Field::Bytes(raw)) => tensor.raw = Some(raw),
                _ => {}
            }
        }
        tensor
    }

    /// Returns the elements; `None` where they are not float32, or not as many as its dimensions say.
    pub(super) fn floats(&self) -> Option<Vec<f32>> {
        if self.element != element::FLOAT {
            return None;
        }
        let floats = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).filter_map(|four| Some(f32::from_le_bytes(four.try_into().ok()?))).collect()
        };
        let values = match self.raw {
            Some(raw) => floats(raw),
            None => self.floats.iter().flat_map(|packed| floats(packed)).collect(),
        };
        let elements = self.dims.iter().try_fold(1_u64, |all, dim| all.checked_mul(*dim))?;
        (usize::try_from(elements).ok()? == values.len()).then_some(values)
    }
}

/// Returns a node with attributes of whole numbers.
pub(super) fn node(
    operator: &str,
    inputs: &[&str],
    output: &str,
    attributes: &[(&'static str, u64)],
) -> Vec<u8> {
    let mut node = MessageWriter::default();
    for input in inputs {
        node = node.text(NODE_INPUT, input);
    }
    node = node.text(NODE_OUTPUT, output).text(NODE_NAME, output).text(NODE_OPERATOR, operator);
    for (name, value) in attributes {
        // AttributeProto: 1 name, 3 the number, 20 the type, of which INT is 2.
        let attribute = MessageWriter::default().text(1, name).number(3, *value).number(20, 2).finish();
        node = node.bytes(NODE_ATTRIBUTE, &attribute);
    }
    node.finish()
}

/// Returns an initializer; `raw` are its elements in little-endian order.
pub(super) fn tensor(name: &str, element: u64, dims: &[u64], raw: &[u8]) -> Vec<u8> {
    let tensor = dims.iter().fold(MessageWriter::default(), |tensor, dim| tensor.number(1, *dim));
    tensor.number(2, element).text(8, name).bytes(9, raw).finish()
}

/// Fields on the way from `ValueInfoProto` to the type of the elements: its type, of `TypeProto` the tensor, of that the type.
const VALUE_ELEMENT: [u64; 3] = [2, 1, 1];

/// Returns the message with another number in the field at the end of `path`, through the messages of the fields before it.
fn with_number(message: &[u8], path: &[u64], number: u64) -> Vec<u8> {
    let mut copy = MessageWriter::default();
    for field in Fields(message) {
        copy = match (path, field.field) {
            ([last], Field::Number(_)) if field.number == *last => copy.number(*last, number),
            ([first, rest @ ..], Field::Bytes(inner)) if field.number == *first => {
                copy.bytes(*first, &with_number(inner, rest, number))
            }
            _ => copy.copy(&field),
        };
    }
    copy.finish()
}

/// Returns the `ValueInfoProto` of a scalar of type float.
fn float_scalar(name: &str) -> Vec<u8> {
    // TypeProto.Tensor: 1 elem_type, 2 shape, which has no dimensions here; TypeProto: 1 tensor_type; ValueInfoProto: 2 type.
    let of_tensor = MessageWriter::default().number(1, element::FLOAT).bytes(2, &[]).finish();
    let of_value = MessageWriter::default().bytes(1, &of_tensor).finish();
    MessageWriter::default().text(1, name).bytes(2, &of_value).finish()
}

/// Returns a text field, empty where it is absent; `None` where it is no UTF-8.
fn text_of(message: &[u8], number: u64) -> Option<&str> {
    let found = Fields(message).filter(|field| field.number == number).last();
    found.map_or(Some(""), |field| std::str::from_utf8(field.bytes()?).ok())
}

fn number_of(message: &[u8], number: u64) -> Option<u64> {
    match Fields(message).filter(|field| field.number == number).last()?.field {
        Field::Number(value) => Some(value),
        Field::Bytes(_) => None,
    }
}

fn packed_numbers(mut bytes: &[u8]) -> Vec<u64> {
    std::iter::from_fn(|| crate::detect::protobuf::varint(&mut bytes)).collect()
}
