//! Dates, from the clock that nginx has read, and as HTTP writes them.

use ngx::ffi::{
    ngx_gmtime, ngx_http_cookie_time, ngx_http_time, ngx_parse_http_time, ngx_timeofday, ngx_tm_t,
    time_t,
};

/// Room for any date that nginx writes.
const LONGEST: usize = 64;
/// The end of the year 9999: later ones have too many digits.
const LATEST: i64 = 253_402_300_799;

/// A date and time of day.
pub struct Date {
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
}

/// Now, in UTC.
pub fn utc() -> Date {
    date(ngx_timeofday().sec as i64)
}

/// Now, in the time zone of the machine.
pub fn local() -> Date {
    let now = ngx_timeofday();
    date(now.sec as i64 + 60 * now.gmtoff as i64)
}

fn date(seconds: i64) -> Date {
    // SAFETY: zeros are a date; nginx fills it.
    let tm = unsafe {
        let mut tm: ngx_tm_t = std::mem::zeroed();
        ngx_gmtime(seconds.clamp(0, LATEST) as time_t, &mut tm);
        tm
    };
    // nginx counts years and months as people do.
    Date {
        year: tm.tm_year,
        month: tm.tm_mon,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
    }
}

/// A time as headers have it: `Thu, 18 Nov 2010 11:27:35 GMT`.
pub fn http_time(seconds: i64) -> Vec<u8> {
    written(seconds, ngx_http_time)
}

/// A time as cookies have it: `Thu, 18-Nov-10 11:27:35 GMT`.
pub fn cookie_time(seconds: i64) -> Vec<u8> {
    written(seconds, ngx_http_cookie_time)
}

fn written(seconds: i64, write: unsafe extern "C" fn(*mut u8, time_t) -> *mut u8) -> Vec<u8> {
    let mut text = vec![0; LONGEST];
    // SAFETY: a date up to the year 9999 fits, and nginx returns its end.
    let len = unsafe {
        let start = text.as_mut_ptr();
        let end = write(start, seconds.clamp(0, LATEST) as time_t);
        end.offset_from_unsigned(start)
    };
    text.truncate(len);
    text
}

/// Reads a time in any of the three ways that HTTP knows.
pub fn parse_http_time(text: &[u8]) -> Option<i64> {
    // SAFETY: nginx reads `len` bytes and changes nothing.
    let time = unsafe { ngx_parse_http_time(text.as_ptr().cast_mut(), text.len()) };
    (time >= 0).then_some(time as i64)
}
