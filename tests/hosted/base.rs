//! A base driver in plain memory: which memory each page of each resource is bound to.

use std::collections::BTreeMap;

use ash::vk;
use hosted::Hosted;
use hosted::config::NullChoice;
use hosted::{BaseBatch, HostedError};
use panvk_sparse::lower::Strategy;
use vpanthor::Flavour;
use vpanthor::KernelSpec;
use vulkan::calls::{Bind, BindCall, BindInfo, ResourceId};

pub const PAGE: u64 = 4096;

/// Page of a resource -> (memory, page of it). What is not in it is not bound.
pub type Pages = BTreeMap<(ResourceId, u64), (u64, u64)>;

/// Writes `bind` into `pages`.
pub fn write(pages: &mut Pages, id: ResourceId, bind: &Bind) {
    for i in 0..bind.size.div_ceil(PAGE) {
        let page = (id, bind.resource_offset / PAGE + i);
        match bind.memory {
            Some(memory) => pages.insert(page, (memory, bind.memory_offset / PAGE + i)),
            None => pages.remove(&page),
        };
    }
}

/// What the base driver was asked to do.
#[derive(Debug, Default)]
pub struct FakeBase {
    pub pages: Pages,
    pub submits: Vec<Vec<BaseBatch>>,
    /// What the next submit answers, if it is refused.
    pub refuse: Option<vk::Result>,
}

impl FakeBase {
    pub fn bind(&mut self, hosted: &Hosted, call: &BindCall) -> Result<(), HostedError> {
        let mut queue = |batches: &[BaseBatch]| match self.refuse.take() {
            Some(result) => Err(result),
            None => {
                for (id, bind) in batches
                    .iter()
                    .flat_map(|batch| &batch.binds)
                    .flat_map(|(id, binds)| binds.iter().map(move |bind| (*id, bind)))
                {
                    write(&mut self.pages, id, bind);
                }
                self.submits.push(batches.to_vec());
                Ok(())
            }
        };
        hosted.bind(call, &mut queue)
    }

    /// The binds of the last submit, of all its batches.
    pub fn last_binds(&self) -> Vec<(ResourceId, Bind)> {
        let batches = self.submits.last().expect("there was a submit");
        let lists = batches.iter().flat_map(|batch| &batch.binds);
        lists
            .flat_map(|(id, binds)| binds.iter().map(|bind| (*id, *bind)))
            .collect()
    }
}

/// Every flavour with every strategy that goes with it.
pub fn configurations() -> Vec<(Flavour, Strategy)> {
    let mut all = Vec::new();
    for flavour in Flavour::ALL {
        all.extend([(flavour, Strategy::Page), (flavour, Strategy::Chunk)]);
        if flavour.repeat_rule().is_some() {
            all.push((flavour, Strategy::Repeat));
        }
        if flavour.has_sparse() {
            all.push((flavour, Strategy::Sparse));
        }
    }
    all
}

pub fn hosted(flavour: Flavour, strategy: Strategy) -> Hosted {
    Hosted::new(
        &KernelSpec::Vpanthor(flavour),
        NullChoice::Fixed(strategy),
        "device".into(),
        "base".into(),
    )
    .expect("the kernel can do it")
}

/// A call of one info that binds `binds` of one resource.
pub fn call(id: ResourceId, binds: &[Bind]) -> BindCall {
    BindCall {
        infos: vec![BindInfo {
            binds: vec![(id, binds.to_vec())],
            ..BindInfo::default()
        }],
        fence: None,
    }
}

pub fn bind(resource_offset: u64, size: u64, memory: Option<u64>, memory_offset: u64) -> Bind {
    Bind {
        resource_offset,
        size,
        memory,
        memory_offset,
        metadata: false,
    }
}
