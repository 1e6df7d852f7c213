//! The words through which a loaded library calls functions of other libraries.
//!
//! The dynamic linker fills such a word (a *slot* of the library's global offset table) with the address of a function. With
//! lazy binding it does so at the first call; until then the slot leads back into the library itself. The library's dynamic
//! section says where its slots are and how their functions are called.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

#[repr(C)]
#[derive(Clone, Copy)]
struct Dyn {
    tag: i64,
    value: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Rela {
    offset: u64,
    info: u64,
    addend: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sym {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

const DT_NULL: i64 = 0;
const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_SONAME: i64 = 14;
const DT_JMPREL: i64 = 23;

/// The types of relocations that put the address of a function, and nothing added to it, into a word.
#[cfg(target_arch = "x86_64")]
const FUNCTION_RELOCATIONS: [u32; 3] = [1, 6, 7];
#[cfg(target_arch = "aarch64")]
const FUNCTION_RELOCATIONS: [u32; 3] = [257, 1025, 1026];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FUNCTION_RELOCATIONS: [u32; 0] = [];

/// A library that is loaded and stays so.
#[derive(Clone, Debug)]
pub struct Library {
    /// The path that it was loaded from.
    path: CString,
    /// What is added to an address of the file.
    base: usize,
    segments: Vec<Range<usize>>,
    dynamic: usize,
    /// What the dynamic linker has made read-only.
    read_only: Range<usize>,
}

/// A word of a library that holds the address of a function of another one.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    address: usize,
    is_read_only: bool,
}

impl Library {
    /// The library that `address` is an address of.
    pub fn at(address: usize) -> Option<Library> {
        struct Search {
            address: usize,
            found: Option<Library>,
        }
        unsafe extern "C" fn visit(
            info: *mut libc::dl_phdr_info,
            _size: usize,
            search: *mut c_void,
        ) -> c_int {
            // SAFETY: `dl_iterate_phdr` passes a valid struct, and the pointer that it was given.
            let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
            // SAFETY: as above: so many program headers.
            let library = unsafe { Library::of(info) };
            search.found = library
                .filter(|library| library.segments.iter().any(|s| s.contains(&search.address)));
            c_int::from(search.found.is_some())
        }
        let mut search = Search {
            address,
            found: None,
        };
        // SAFETY: a function of the type that is asked for, which gets `search` back while it lives.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
        search.found
    }

    /// # Safety
    /// `info` is what `dl_iterate_phdr` tells of a library.
    unsafe fn of(info: &libc::dl_phdr_info) -> Option<Library> {
        let base = info.dlpi_addr as usize;
        // SAFETY: the caller's promise.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let place = |header: &libc::Elf64_Phdr| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            start..start.wrapping_add(header.p_memsz as usize)
        };
        let of_type = |ty: u32| headers.iter().filter(move |header| header.p_type == ty);
        let page = rustix::param::page_size();
        let read_only = of_type(libc::PT_GNU_RELRO).next().map_or(0..0, |header| {
            let place = place(header);
            place.start / page * page..place.end / page * page
        });
        let path = match info.dlpi_name.is_null() {
            true => CString::default(),
            // SAFETY: the caller's promise: a string that ends with NUL.
            false => unsafe { CStr::from_ptr(info.dlpi_name) }.to_owned(),
        };
        Some(Library {
            path,
            base,
            segments: of_type(libc::PT_LOAD).map(place).collect(),
            dynamic: place(of_type(libc::PT_DYNAMIC).next()?).start,
            read_only,
        })
    }

    fn entries(&self) -> impl Iterator<Item = Dyn> {
        let first = self.dynamic as *const Dyn;
        // SAFETY: the dynamic section of a library that stays loaded ends with DT_NULL.
        (0..)
            .map(move |i| unsafe { *first.add(i) })
            .take_while(|entry| entry.tag != DT_NULL)
    }

    fn entry(&self, tag: i64) -> Option<u64> {
        self.entries()
            .find(|entry| entry.tag == tag)
            .map(|entry| entry.value)
    }

    /// An address that the dynamic section has. Some dynamic linkers leave it as it is in the file.
    fn pointer(&self, tag: i64) -> Option<usize> {
        let value = self.entry(tag)? as usize;
        Some(if value < self.base {
            value + self.base
        } else {
            value
        })
    }

    fn string(&self, offset: u64) -> Option<&CStr> {
        let strings = self.pointer(DT_STRTAB)?;
        // SAFETY: an offset of the library's string table, whose strings end with NUL. It stays loaded.
        Some(unsafe { CStr::from_ptr((strings + offset as usize) as *const _) })
    }

    /// What libraries that are linked with it call it.
    pub fn name(&self) -> Option<&CStr> {
        self.string(self.entry(DT_SONAME)?)
    }

    /// The slots for a function that the library imports.
    pub fn slots(&self, function: &CStr) -> Vec<Slot> {
        let tables = [(DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)];
        let mut slots = Vec::new();
        for (table, size) in tables {
            let (Some(first), Some(bytes)) = (self.pointer(table), self.entry(size)) else {
                continue;
            };
            let count = bytes as usize / size_of::<Rela>();
            // SAFETY: the dynamic section says that so many relocations are there.
            let relocations = unsafe { std::slice::from_raw_parts(first as *const Rela, count) };
            let of_function = relocations.iter().filter(|relocation| {
                FUNCTION_RELOCATIONS.contains(&(relocation.info as u32))
                    && relocation.addend == 0
                    && self.imports(relocation.info >> 32, function)
            });
            slots.extend(of_function.map(|relocation| {
                let address = self.base + relocation.offset as usize;
                Slot {
                    address,
                    is_read_only: self.read_only.contains(&address),
                }
            }));
        }
        slots
    }

    /// Whether its symbol of that number is the function, and another library's.
    fn imports(&self, symbol: u64, function: &CStr) -> bool {
        let Some(symbols) = self.pointer(DT_SYMTAB) else {
            return false;
        };
        // SAFETY: a relocation's symbol is in the table.
        let symbol = unsafe { *(symbols as *const Sym).add(symbol as usize) };
        symbol.section == 0 && self.string(symbol.name.into()) == Some(function)
    }

    /// The function that a slot leads to, once it is called.
    pub fn function(&self, slot: Slot, name: &CStr) -> Option<usize> {
        let address = slot.get();
        if !self
            .segments
            .iter()
            .any(|segment| segment.contains(&address))
        {
            return Some(address);
        }
        // Not called yet. As the dynamic linker would: what the whole process sees comes first, then the library's own.
        // SAFETY: strings that end with NUL; the handle is given back.
        let found = unsafe {
            let global = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
            if global.is_null() {
                let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
                let handle = libc::dlopen(self.path.as_ptr(), flags);
                if handle.is_null() {
                    return None;
                }
                let own = libc::dlsym(handle, name.as_ptr());
                libc::dlclose(handle);
                own
            } else {
                global
            }
        };
        (!found.is_null()).then_some(found as usize)
    }
}

impl Slot {
    fn word(&self) -> &AtomicUsize {
        // SAFETY: an aligned word of a library that stays loaded, which other threads read as a whole.
        unsafe { AtomicUsize::from_ptr(self.address as *mut usize) }
    }

    pub fn get(self) -> usize {
        self.word().load(Ordering::Relaxed)
    }

    /// # Errors
    /// The word can't be made writable.
    ///
    /// # Safety
    /// `function` is the address of a function of the same type, which stays loaded.
    pub unsafe fn set(self, function: usize) -> std::io::Result<()> {
        let page = rustix::param::page_size();
        let start = (self.address / page * page) as *mut c_void;
        let protect = |protection| {
            // SAFETY: a page of a library that stays loaded, with the rights that it had beside.
            match unsafe { libc::mprotect(start, page, protection) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        if self.is_read_only {
            protect(libc::PROT_READ | libc::PROT_WRITE)?;
        }
        self.word().store(function, Ordering::Release);
        if self.is_read_only {
            protect(libc::PROT_READ)?;
        }
        Ok(())
    }
}

/// Keeps the library that `address` is of loaded until the process ends: who unloads it leaves it there.
pub fn keep_loaded(address: usize) -> bool {
    let Some(library) = Library::at(address) else {
        return false;
    };
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: a string that ends with NUL; the library is loaded.
    !unsafe { libc::dlopen(library.path.as_ptr(), flags) }.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn nobody() -> libc::pid_t {
        -1
    }

    /// Through the slot, each time.
    #[inline(never)]
    fn parent() -> libc::pid_t {
        // SAFETY: it takes nothing.
        unsafe { libc::getppid() }
    }

    #[test]
    fn a_slot_of_this_program_leads_elsewhere_until_it_is_set_back() {
        let own = parent();
        let here = a_slot_of_this_program_leads_elsewhere_until_it_is_set_back as *const ();
        let program = Library::at(here as usize).expect("this program is loaded");
        let slots = program.slots(c"getppid");
        let before: Vec<_> = slots.iter().map(|slot| slot.get()).collect();
        assert!(!slots.is_empty(), "{program:?}");
        for &slot in &slots {
            assert!(program.function(slot, c"getppid").is_some());
            // SAFETY: functions that take nothing and give a number.
            unsafe { slot.set(nobody as *const () as usize) }.expect("it is set");
        }
        assert_eq!(parent(), -1);
        for (slot, before) in slots.iter().zip(before) {
            // SAFETY: what was there.
            unsafe { slot.set(before) }.expect("it is set back");
        }
        assert_eq!(parent(), own);
        assert!(program.slots(c"a_function_of_nobody").is_empty());
        assert!(Library::at(8).is_none());
    }
}
