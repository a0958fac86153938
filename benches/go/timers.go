package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

func timerStorm(setup) {
	sleepers(1000)
	w := start()
	sleepers(100_000)
	wall, cpu := w.stop()
	result("wall_ms", wall.Seconds()*1e3)
	result("cpu_ms", cpu.Seconds()*1e3)
}

func sleepers(n int) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { time.Sleep(time.Duration(1+i*7%50) * time.Millisecond) })
	}
	all.Wait()
}

func timerCancel(n int) int {
	for range n {
		time.NewTimer(10 * time.Second).Stop()
	}
	return n
}

// timeoutReady waits for a value that is there, with a timer beside it.
func timeoutReady(n int) int {
	values := make(chan int, 1)
	for i := range n {
		values <- i
		timer := time.NewTimer(10 * time.Second)
		select {
		case <-values:
		case <-timer.C:
			panic("it is ready")
		}
		timer.Stop()
	}
	return n
}

func lateness(s setup) {
	sleeps := 300
	if s.scale < 0.5 {
		sleeps = 100
	}
	late := make([]float64, 0, sleeps)
	for i := range sleeps {
		d := time.Duration(1000+i*613%4000) * time.Microsecond
		start := time.Now()
		time.Sleep(d)
		late = append(late, float64(time.Since(start)-d)/1e3)
	}
	result("late_p50_us", quantile(late, 0.5))
	result("late_p99_us", quantile(late, 0.99))
}

// parked lets n goroutines wait on one channel, divides the growth of memory by n, and wakes and awaits them all.
func parked(n int) {
	gate := make(chan struct{})
	var all sync.WaitGroup
	park := func(n int) {
		there := runtime.NumGoroutine() + n
		for range n {
			all.Go(func() { <-gate })
		}
		for runtime.NumGoroutine() < there {
			runtime.Gosched()
		}
		runtime.Gosched()
	}
	park(1000)
	resident, tables := residentBytes(), pageTableBytes()
	w := start()
	park(n)
	w.perOp(n)
	tables = pageTableBytes() - tables
	result("bytes", float64(residentBytes()-resident+tables)/float64(n))
	result("table_bytes", float64(tables)/float64(n))
	w = start()
	close(gate)
	all.Wait()
	wall, _ := w.stop()
	result("wake_ns", float64(wall)/float64(n))
}

func residentBytes() int {
	return statusField("/proc/self/status", "VmRSS:") * 1024
}

func pageTableBytes() int {
	return statusField("/proc/self/status", "VmPTE:") * 1024
}

func statusField(file, name string) (value int) {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name); found {
			fmt.Sscan(rest, &value)
		}
	}
	return value
}

// idle watches the process for three seconds, or one in a quick run: one timer far away, one socket that listens. Go's main goroutine sleeps beside
// them, which is one wake-up.
func idle(s setup) {
	seconds := 3
	if s.scale < 0.5 {
		seconds = 1
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil)
	go listener.Accept()
	time.AfterFunc(time.Hour, func() {})
	time.Sleep(300 * time.Millisecond)
	slept := voluntarySwitches()
	w := start()
	time.Sleep(time.Duration(seconds) * time.Second)
	wall, cpu := w.stop()
	result("wakeups_per_s", float64(voluntarySwitches()-slept)/wall.Seconds())
	result("cpu_us_per_s", cpu.Seconds()*1e6/wall.Seconds())
}

func voluntarySwitches() (sum int) {
	files, _ := filepath.Glob("/proc/self/task/*/status")
	for _, file := range files {
		sum += statusField(file, "voluntary_ctxt_switches:")
	}
	return sum
}
