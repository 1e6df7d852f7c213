//! What the application gives this layer by VK_EXT_layer_settings.

use std::ffi::{CStr, c_char, c_void};

use ash::vk;
use vulkan::binds::slice;
use vulkan::pnext;

use crate::NAME;

/// A setting, by the name that the application gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub name: String,
    pub value: Value,
}

/// Its first value; this layer has no setting of more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    /// Of any of the integer types.
    Number(i128),
    Text(String),
    /// A type that no setting here has, or no value.
    Other,
}

/// The settings for this layer in the chain of a `VkInstanceCreateInfo`, in their order.
///
/// # Safety
/// `p_next` is a valid chain.
pub unsafe fn of_this_layer(p_next: *const c_void) -> Vec<Given> {
    let mut given = Vec::new();
    // SAFETY: the caller's promise; a link's type says what it is.
    unsafe {
        for link in pnext::chain(p_next) {
            if (*link).s_type != vk::StructureType::LAYER_SETTINGS_CREATE_INFO_EXT {
                continue;
            }
            let info = &*link.cast::<vk::LayerSettingsCreateInfoEXT<'_>>();
            for setting in slice(info.p_settings, info.setting_count) {
                if text(setting.p_layer_name).as_deref() == NAME.to_str().ok() {
                    given.push(Given {
                        name: text(setting.p_setting_name).unwrap_or_default(),
                        value: value(setting),
                    });
                }
            }
        }
    }
    given
}

/// # Safety
/// `text` is null or a NUL-terminated string.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    )
}

/// # Safety
/// `setting` is valid.
unsafe fn value(setting: &vk::LayerSettingEXT<'_>) -> Value {
    if setting.value_count == 0 || setting.p_values.is_null() {
        return Value::Other;
    }
    let first = setting.p_values;
    // SAFETY: the caller's promise: `first` points to at least one value of the type.
    unsafe {
        match setting.ty {
            vk::LayerSettingTypeEXT::BOOL32 => Value::Bool(*first.cast::<u32>() != 0),
            vk::LayerSettingTypeEXT::INT32 => Value::Number((*first.cast::<i32>()).into()),
            vk::LayerSettingTypeEXT::UINT32 => Value::Number((*first.cast::<u32>()).into()),
            vk::LayerSettingTypeEXT::INT64 => Value::Number((*first.cast::<i64>()).into()),
            vk::LayerSettingTypeEXT::UINT64 => Value::Number((*first.cast::<u64>()).into()),
            vk::LayerSettingTypeEXT::STRING => {
                text(*first.cast::<*const c_char>()).map_or(Value::Other, Value::Text)
            }
            _ => Value::Other,
        }
    }
}
