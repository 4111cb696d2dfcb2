//! Days and seconds of the proleptic Gregorian calendar.

const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH_SHIFT: i64 = 719_468;

/// A moment of universal time, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
    /// 0 to 23.
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

impl Moment {
    /// The moment so many seconds after the beginning of 1970.
    pub(super) fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (
            seconds.div_euclid(SECONDS_PER_DAY),
            seconds.rem_euclid(SECONDS_PER_DAY),
        );
        let shifted = days + EPOCH_SHIFT;
        let (era, day_of_era) = (
            shifted.div_euclid(DAYS_PER_ERA),
            shifted.rem_euclid(DAYS_PER_ERA),
        );
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Years here begin in March, so that leap days come last.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// Seconds since the beginning of 1970. Fields out of range carry over.
    pub(super) fn to_unix(self) -> i64 {
        let month = i64::from(self.month.clamp(1, 12));
        let year = self.year - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * DAYS_PER_ERA + day_of_era - EPOCH_SHIFT;
        days * SECONDS_PER_DAY
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }

    /// Day of the week, 1 (Sunday) to 7.
    pub(super) fn day_of_week(self) -> u8 {
        (self.to_unix().div_euclid(SECONDS_PER_DAY) + 4).rem_euclid(7) as u8 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_the_system(seconds: i64) -> (Moment, u8) {
        // SAFETY: all-zero bytes are a `tm`.
        let mut time: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values.
        let result = unsafe { libc::gmtime_r(&raw const seconds, &raw mut time) };
        assert!(!result.is_null());
        let moment = Moment {
            year: i64::from(time.tm_year) + 1900,
            month: time.tm_mon as u8 + 1,
            day: time.tm_mday as u8,
            hour: time.tm_hour as u8,
            minute: time.tm_min as u8,
            second: time.tm_sec as u8,
        };
        (moment, time.tm_wday as u8 + 1)
    }

    proptest! {
        #[test]
        fn it_is_the_systems_calendar(seconds in -5_000_000_000_i64..40_000_000_000) {
            let moment = Moment::from_unix(seconds);
            prop_assert_eq!((moment, moment.day_of_week()), by_the_system(seconds));
            prop_assert_eq!(moment.to_unix(), seconds);
        }
    }
}
