#!/bin/sh
# Every device of the Zynq-7000 at once, in a guest with every driver (README.md): load.sh SECONDS
#
# Each job goes round until the time is over, and compares what it reads with what it wrote; then they say how often, and what went wrong. What is not
# there is left out; the test `everything_at_once` of runtime/emu/tests/hardware.rs has all of it, and starts this.
seconds=${1:-20}
dir=/tmp/load
rm -rf $dir && mkdir -p $dir && cd $dir || exit 1

time_left() { [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ]; }

# job NAME COMMAND...: again and again, each round with the variable `n` one more.
job() {
    name=$1 n=0
    shift
    echo 0 > "$name.count"
    while time_left; do
        "$@" > "$name.log" 2>&1 || { echo "$name: round $n: $(tail -n 3 "$name.log")" >> failed; break; }
        n=$((n + 1))
        echo $n > "$name.count"
    done
}

# Writes a mebibyte of the disk, and reads it back past the cache.
disk() {
    at=$((n % 16))
    dd if=data of="$1" bs=1M seek=$at conv=fsync,notrunc && dd if="$1" bs=1M skip=$at count=1 iflag=direct | cmp - data
}

stick() { dd if="$1" bs=64k count=64 iflag=direct | md5sum | cmp - "$2"; }

# There and back by TCP.
echoed() { nc "$1" 7 < data | cmp - data; }

flash() { mtd "$1" test $((n % 4 * 131072 + 1048576)) 128K; }

eeprom() { md5sum < /sys/bus/i2c/devices/0-0054/eeprom | cmp - eeprom.sum && i2cdetect -y 0 && cat /sys/class/hwmon/*/temp1_input; }

edges() {
    gpio 0 wait 40 both 2 20 > edges.out &
    until grep -q waiting edges.out 2> /dev/null; do usleep 10000; done
    gpio 0 set 80=1
    gpio 0 set 80=0
    wait $!
    rm edges.out
}

frames() {
    can "$2" receive 20 20 > "$2.out" &
    until grep -q "$2 .*raw" /proc/net/can/rcvlist_all; do usleep 10000; done
    can "$1" send $(for i in $(seq 20); do echo "12$((i % 8))#0123456789ABCDEF"; done) && wait $! && grep -c '#0123456789ABCDEF' "$2.out" | grep -qx 20
}

copies() {
    cd /sys/module/dmatest/parameters && echo 1 > run && sleep 1 && cat wait > /dev/null && echo 0 > run && cd $dir
    dmesg | grep dmatest | tail -n 8 > copies.out
    grep -q ' 0 failures' copies.out && ! grep summary copies.out | grep -v ' 0 failures'
}

# Twenty sleeps of 10 ms, on one CPU: the clock goes on as it should.
timers() {
    from=$(tr -d . < /proc/uptime | cut -d' ' -f1)
    taskset "$1" sh -c 'for i in $(seq 20); do usleep 10000; done'
    to=$(tr -d . < /proc/uptime | cut -d' ' -f1)
    [ $((to - from)) -ge 20 ] && [ $((to - from)) -lt 3000 ]
}

compute() { taskset "$1" sh -c 'md5sum < data | cmp - data.sum'; }

uart() { seq 1 200 > /dev/ttyPS1; }

console() { echo "load $n" > /dev/ttyPS0; sleep 1; }

analog() { for i in 0 1 2; do cat /sys/bus/iio/devices/iio:device0/in_voltage${i}_*_raw; done; cat /sys/bus/iio/devices/iio:device0/in_temp0_raw; }

dog() { wdt /dev/watchdog0 timeout=5 feed=2 stop; }

# What both CPUs have had of interrupts.
interrupts() { awk 'NR > 1 && $1 !~ /Err/ { a += $2; b += $3 } END { print a, b }' /proc/interrupts; }

dd if=/dev/urandom of=data bs=1M count=1 2> /dev/null
md5sum < data > data.sum
dmesg -c > /dev/null
# Every other interrupt goes to the second CPU.
for irq in /proc/irq/[0-9]*; do [ $((${irq##*/} % 2)) = 0 ] || echo 2 > "$irq/smp_affinity" 2> /dev/null; done
before=$(interrupts)
end=$(($(cut -d. -f1 /proc/uptime) + seconds))

for part in /dev/mmcblk?; do [ -e "$part" ] && job "${part##*/}" disk "$part" & done
if [ -e /dev/sda ]; then
    dd if=/dev/sda bs=64k count=64 2> /dev/null | md5sum > stick.sum
    job usb stick /dev/sda stick.sum &
fi
for port in 0 1; do
    ip route | grep -q "eth$port" && job eth$port echoed 10.0.$((port + 2)).9 &
done
for flash in /dev/mtd?; do job "${flash##*/}" flash "$flash" & done
if [ -e /sys/bus/i2c/devices/0-0054/eeprom ]; then
    md5sum < /sys/bus/i2c/devices/0-0054/eeprom > eeprom.sum
    job i2c eeprom &
fi
can can0 up 500000 && can can1 up 500000 && { job can0 frames can0 can1 & }
for p in timeout=20000 iterations=20 threads_per_chan=1 test_buf_size=16384 max_channels=8 channel=; do
    echo "${p#*=}" > /sys/module/dmatest/parameters/${p%%=*}
done
job dma copies &
job gpio edges &
for cpu in 1 2; do
    job timer$cpu timers $cpu &
    job cpu$cpu compute $cpu &
done
job uart uart &
job xadc analog &
job watchdog dog &
job console console
wait

set -- $before $(interrupts)
echo "interrupts $(($3 - $1)) $(($4 - $2))"
for file in *.count; do echo "${file%.count} $(cat "$file")"; done
status=0
[ $3 -gt $1 ] && [ $4 -gt $2 ] || status=1
if [ -e failed ]; then cat failed && status=1; fi
for file in *.count; do [ "$(cat "$file")" -gt 0 ] || status=1; done
if dmesg | grep -iE 'lockup|stall|nobody cared|time.?out|timed out|hung|BUG:|WARNING:|error' | grep -vE 'dmatest|bitrate error 0.0%'; then status=1; fi
[ $status = 0 ] && echo "all is well" || echo "something is wrong"
exit $status
