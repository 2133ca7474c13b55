//! The nodes of an open model by execution provider, from ONNX Runtime's C interface.
#![expect(unsafe_code, reason = "ort has no functions for it")]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::{ptr, slice};

use ort::AsPointer;
use ort::session::Session;
use ort::sys::OrtEpAssignedSubgraph;

/// Returns the number of nodes of each execution provider, if the session was built to record it.
pub(super) fn assigned_nodes(session: &Session) -> ort::Result<BTreeMap<String, usize>> {
    let mut nodes = BTreeMap::new();
    for subgraph in subgraphs(session)? {
        *nodes.entry(provider(*subgraph)?).or_default() += node_count(*subgraph)?;
    }
    Ok(nodes)
}

fn subgraphs(session: &Session) -> ort::Result<&[*const OrtEpAssignedSubgraph]> {
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session is open, and both results are written before they are read.
    unsafe {
        let status =
            (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut subgraphs, &raw mut count);
        ort::Error::result_from_status(status)?;
    }
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: ONNX Runtime returned an array of that length, which the session owns.
    Ok(unsafe { slice::from_raw_parts(subgraphs, count) })
}

fn provider(subgraph: *const OrtEpAssignedSubgraph) -> ort::Result<String> {
    let mut name = ptr::null();
    // SAFETY: the subgraph is one of an open session, and so is the name, which ends with a NUL.
    let name = unsafe {
        let status = (ort::api().EpAssignedSubgraph_GetEpName)(subgraph, &raw mut name);
        ort::Error::result_from_status(status)?;
        CStr::from_ptr(name)
    };
    Ok(name.to_string_lossy().into_owned())
}

fn node_count(subgraph: *const OrtEpAssignedSubgraph) -> ort::Result<usize> {
    let (mut nodes, mut count) = (ptr::null(), 0);
    // SAFETY: the subgraph is one of an open session; the nodes themselves are not read.
    unsafe {
        let status = (ort::api().EpAssignedSubgraph_GetNodes)(subgraph, &raw mut nodes, &raw mut count);
        ort::Error::result_from_status(status)?;
    }
    Ok(count)
}
