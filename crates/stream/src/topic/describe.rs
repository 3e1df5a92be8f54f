//! The topic's own id, by librdkafka's `DescribeTopics`.
//!
//! rust-rdkafka 0.39 does not wrap this call, and only the id tells a topic from one made again under the same name: without it a
//! store would silently go on with another topic's offsets. Hence the one `unsafe` of this crate: a single request on a queue
//! of its own, every pointer freed before the function ends.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;

/// Kafka's `Uuid` in base64, as its own tools print it; `None` when the broker does not know topic ids.
pub(super) fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Option<String> {
    let name = CString::new(topic).ok()?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let handle = client.native_ptr();
    // SAFETY: `handle` lives as long as `client`, which is borrowed for the whole call. The collection copies the name. The
    // queue, options, collection and event are ours alone and destroyed below, each after its last use; the description and
    // its uuid belong to the event and are copied into a String before it goes.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options =
            sys::rd_kafka_AdminOptions_new(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(handle);
        sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms);
        let id = if event.is_null() { None } else { id_of(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        id
    }
}

/// # Safety
/// `event` is a live event of a `DescribeTopics` request.
unsafe fn id_of(event: *mut sys::rd_kafka_event_t) -> Option<String> {
    // SAFETY: by the contract above; every pointer is checked before it is followed.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let descriptions = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if descriptions.is_null() || count == 0 {
            return None;
        }
        let uuid = sys::rd_kafka_TopicDescription_topic_id(*descriptions);
        if uuid.is_null()
            || (sys::rd_kafka_Uuid_most_significant_bits(uuid), sys::rd_kafka_Uuid_least_significant_bits(uuid))
                == (0, 0)
        {
            return None;
        }
        let text = sys::rd_kafka_Uuid_base64str(uuid);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    }
}
