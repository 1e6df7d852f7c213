//! What the ICD and the layers share: dispatch tables, handle maps, `pNext` walking.
