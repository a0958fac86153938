// The Go twins of the workloads in src/workload: the same sizes, the same result lines.
//
//	bench_go WORKLOAD PROCS [SCALE]
//	bench_go echo|http1|http2|nap PROCS
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// setup says how large a run is.
type setup struct {
	procs int
	scale float64
}

// scaled returns the number of operations, in whole thousands.
func (s setup) scaled(full int) int {
	return max(1, int(float64(full)*s.scale/1000+0.5)) * 1000
}

var workloads = map[string]func(setup){
	"spawn_join":              perOp(1_000_000, spawnJoin),
	"skynet":                  skynet,
	"yield":                   perOp(1_000_000, func(n int) int { return yields(1000, n/1000) }),
	"chained_spawn":           perOp(1_000_000, chainedSpawn),
	"oneshot":                 perOp(500_000, oneshotPingPong),
	"oneshot_own":             perOp(500_000, oneshotPingPong),
	"oneshot_answer":          perOp(500_000, answers),
	"mutex_1":                 perOp(10_000_000, func(n int) int { return count(1, n) }),
	"mutex_8":                 perOp(4_000_000, func(n int) int { return count(8, n/8) }),
	"pp":                      perOp(500_000, slotPingPong),
	"sjw1000":                 perOp(300_000, spawnJoinWorking),
	"fork2_5000":              perOp(40_000, fork2),
	"sig20000":                perOp(10_000, signal),
	"spawn_many_local":        perOp(500_000, spawnManyLocal),
	"spawn_many_remote_idle":  perOp(200_000, func(n int) int { return spawnMany(n, 10_000) }),
	"spawn_many_remote_busy1": spawnManyBusyYielding,
	"spawn_many_remote_busy2": spawnManyBusySpawning,
	"yield_many":              perOp(1_000_000, func(n int) int { return yields(200, n/200) }),
	"ping_pong":               perOp(200_000, pingPong),
	"timers":                  timerStorm,
	"timer_cancel":            perOp(500_000, timerCancel),
	"timeout_ready":           perOp(2_000_000, timeoutReady),
	"lateness":                lateness,
	"parked_100k":             func(setup) { parked(100_000) },
	"parked_1M":               func(setup) { parked(1_000_000) },
	"pull_next":               perOp(5_000_000, pullNext),
	"pull_life":               perOp(500_000, pullLife),
	"idle":                    idle,
	"stall_spin":              stallWith(func(*sync.Mutex) { spin(stalls) }),
	"stall_sleep":             stallWith(func(*sync.Mutex) { block(stalls) }),
	"stall_mutex":             stallWith(func(lock *sync.Mutex) { lock.Lock(); lock.Unlock() }),
	"ask":                     ask,
	"site_25":                 site(25),
	"site_100":                site(100),
	"chan_pp":                 perOp(500_000, chanPingPong),
	"chan_1to1":               perOp(2_000_000, chanOneToOne),
	"chan_4to4":               perOp(2_000_000, chanFourToFour),
	"udp_pp":                  perOp(100_000, udpEcho(1)),
	"udp_echo":                perOp(200_000, udpEcho(20)),
	"select2":                 perOp(300_000, select2),
	"select8":                 perOp(300_000, select8),
	"select64":                perOp(300_000, select64),
	"select_ready2":           perOp(300_000, selectReady2),
	"select_ready8":           perOp(300_000, selectReady8),
	"select_ready64":          perOp(300_000, selectReady64),
	"echo":                    echo,
	"http1":                   hello,
	"http2":                   hello,
	"nap":                     hello,
}

func main() {
	if len(os.Args) < 3 || workloads[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: bench_go WORKLOAD PROCS [SCALE]")
		os.Exit(1)
	}
	s := setup{scale: 1}
	s.procs, _ = strconv.Atoi(os.Args[2])
	if len(os.Args) > 3 {
		s.scale, _ = strconv.ParseFloat(os.Args[3], 64)
	}
	runtime.GOMAXPROCS(s.procs)
	workloads[os.Args[1]](s)
}

// perOp warms up with a tenth of the work and measures all of it. main is a goroutine like any other.
func perOp(full int, work func(n int) int) func(setup) {
	return func(s setup) {
		n := s.scaled(full)
		work(max(1, n/10_000) * 1000)
		w := start()
		ops := work(n)
		w.perOp(ops)
		result("peak_mib", float64(usage().Maxrss)/1024)
	}
}

// stopwatch measures a section on the wall and on the CPU.
type stopwatch struct {
	wall time.Time
	cpu  time.Duration
}

func start() stopwatch { return stopwatch{time.Now(), cpuTime()} }

func (w stopwatch) stop() (wall, cpu time.Duration) {
	return time.Since(w.wall), cpuTime() - w.cpu
}

func (w stopwatch) perOp(ops int) {
	wall, cpu := w.stop()
	result("wall_ns", float64(wall)/float64(ops))
	result("cpu_ns", float64(cpu)/float64(ops))
}

func usage() (u syscall.Rusage) {
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u
}

func cpuTime() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func result(name string, value float64) {
	fmt.Printf("RESULT %s %.3f\n", name, value)
}

// quantile sorts values and returns the one at q.
func quantile(values []float64, q float64) float64 {
	sort.Float64s(values)
	return values[int(float64(len(values)-1)*q+0.5)]
}
