//! A timer of microseconds, without a spin: the runtime's own counts in milliseconds.

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub(super) use self::exact::Alarm;
#[cfg(not(target_os = "linux"))]
pub(super) use self::plain::Alarm;

#[cfg(target_os = "linux")]
mod exact {
    use std::os::fd::OwnedFd;

    use rustix::io::read;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::{Duration, io};

    /// The kernel's timer.
    pub(in super::super) struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        /// Takes a descriptor; it is waited for by the runtime that this is called on.
        #[expect(
            deprecated,
            reason = "sound for a descriptor that is owned and never replaced; the other way is `unsafe`"
        )]
        pub(in super::super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self(AsyncFd::new(timer)?))
        }

        /// Waits. A wait that is given up leaves nothing behind: the next one sets the timer anew.
        pub(in super::super) async fn after(&self, wait: Duration) -> io::Result<()> {
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // Nought would never ring.
            let value = Timespec::try_from(wait.max(Duration::from_nanos(1))).map_err(io::Error::other)?;
            let once = Itimerspec {
                it_interval: zero,
                it_value: value,
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                let mut rings = [0; 8];
                if let Ok(read) = ready.try_io(|timer| Ok(read(timer, &mut rings)?)) {
                    return read.map(drop);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod plain {
    use super::{Duration, io};

    /// The runtime's timer, where there is none that is finer.
    pub(in super::super) struct Alarm;

    impl Alarm {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in super::super) async fn after(&self, wait: Duration) -> io::Result<()> {
            tokio::time::sleep(wait).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_rings_after_its_time_also_when_a_wait_before_was_given_up() {
        let alarm = Alarm::new().unwrap();
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::ZERO, alarm.after(Duration::from_nanos(1)));
            let _ = given_up.await;
            let (began, wait) = (Instant::now(), Duration::from_micros(200));
            alarm.after(wait).await.unwrap();
            assert!(began.elapsed() >= wait);
        }
        alarm.after(Duration::ZERO).await.unwrap();
    }
}
