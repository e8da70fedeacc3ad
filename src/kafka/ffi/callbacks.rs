//! What librdkafka's threads call: with lines that they log, and for the tokens of logins.

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::catch_unwind;
use std::ptr::NonNull;

use rdkafka::bindings as c;

use super::{Listener, text};

unsafe extern "C" {
    fn rd_kafka_oauthbearer_set_token(
        client: *mut c::rd_kafka_t,
        token: *const c_char,
        expires_at_ms: i64,
        principal: *const c_char,
        extensions: *mut *const c_char,
        extension_count: usize,
        reason: *mut c_char,
        reason_size: usize,
    ) -> c_int;
    fn rd_kafka_oauthbearer_set_token_failure(client: *mut c::rd_kafka_t, reason: *const c_char) -> c_int;
}

/// Called by librdkafka's thread of callbacks when a login needs a token. It may wait there: nothing but such
/// calls comes on that thread.
pub(super) unsafe extern "C" fn refresh_token(
    handle: *mut c::rd_kafka_t,
    _config: *const c_char,
    opaque: *mut c_void,
) {
    // A panic must not cross into C; librdkafka asks again for a token that it wasn't given.
    let _ = catch_unwind(|| {
        // SAFETY: the opaque pointer is the listener, which outlives the client.
        let Some(listener) = (unsafe { opaque.cast::<Listener>().as_ref() }) else { return };
        let Some(tokens) = &listener.tokens else { return };
        let given = tokens.fetch().and_then(|token| {
            let texts: Result<Vec<CString>, _> = tokens.extensions().map(CString::new).collect();
            let texts = texts.map_err(|_| "an extension holds a zero byte".to_owned())?;
            let mut extensions: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
            let zero = |_| "the token holds a zero byte".to_owned();
            let value = CString::new(token.value).map_err(zero)?;
            let principal = CString::new(token.principal).map_err(zero)?;
            let mut reason = [0 as c_char; 512];
            // SAFETY: the handle is alive in its own callback; all strings are copied, and the buffer is
            // writable as long as told and ended with a zero.
            unsafe {
                let (at, room) = (reason.as_mut_ptr(), reason.len());
                let (first, count) = (extensions.as_mut_ptr(), extensions.len());
                let (value, principal) = (value.as_ptr(), principal.as_ptr());
                match rd_kafka_oauthbearer_set_token(
                    handle,
                    value,
                    token.expires_at_ms,
                    principal,
                    first,
                    count,
                    at,
                    room,
                ) {
                    0 => Ok(()),
                    _ => Err(text(at)),
                }
            }
        });
        listener.brokers.token(given.as_ref().err().map(String::as_str));
        if let Err(why) = given {
            let why = CString::new(why).unwrap_or_default();
            // SAFETY: the handle is alive in its own callback, and the text is copied.
            unsafe { rd_kafka_oauthbearer_set_token_failure(handle, why.as_ptr()) };
        }
    });
}

/// Called by a broker's thread for each certificate of the chain that the broker shows, after OpenSSL has
/// judged it: OpenSSL's judgement stands, and is remembered, since no message tells it.
pub(super) unsafe extern "C" fn judge_certificate(
    _handle: *mut c::rd_kafka_t,
    broker: *const c_char,
    _broker_id: i32,
    verdict: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _size: usize,
    reason: *mut c_char,
    room: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka passes a place that holds OpenSSL's error, 0 for none.
    let verdict = unsafe { *verdict };
    if verdict == 0 {
        return 1;
    }
    // A panic must not cross into C; the certificate stays refused.
    let _ = catch_unwind(|| {
        let why = format!("OpenSSL refuses it with error {verdict}");
        let bytes = &why.as_bytes()[..why.len().min(room.saturating_sub(1))];
        // SAFETY: the broker's name is a C string, and the opaque pointer is the listener, which outlives the
        // client. The buffer is writable as long as told, and longer than what is copied and its zero.
        unsafe {
            if room > 0 {
                std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), reason, bytes.len());
                *reason.add(bytes.len()) = 0;
            }
            if let Some(listener) = opaque.cast::<Listener>().as_ref() {
                listener.brokers.distrust(&text(broker), verdict);
            }
        }
    });
    0
}

/// Called by librdkafka's threads for each line that it logs.
pub(super) unsafe extern "C" fn log_line(
    handle: *const c::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // A panic must not cross into C; a log line that can't be written is lost.
    let _ = catch_unwind(|| {
        // SAFETY: librdkafka passes C strings, and the opaque pointer is the listener that outlives it.
        unsafe {
            if let Some(handle) = NonNull::new(handle.cast_mut())
                && let Some(listener) = c::rd_kafka_opaque(handle.as_ptr()).cast::<Listener>().as_ref()
            {
                listener.hear(level, &text(facility), &text(line));
            }
        }
    });
}
