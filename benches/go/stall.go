package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The scene of src/workload/stall.rs: two hogs nap, wait and stall; a ticker and an echoing socket want their turn.
const (
	nap    = 60 * time.Millisecond
	calm   = 150 * time.Millisecond
	stalls = 500 * time.Millisecond
	margin = 20 * time.Millisecond
	tick   = time.Millisecond
)

func stallWith(hog func(lock *sync.Mutex)) func(setup) {
	return func(setup) {
		var lock sync.Mutex
		var over atomic.Bool
		var stalled atomic.Int64
		began := time.Now()
		lock.Lock()
		var hogs, others sync.WaitGroup
		for range 2 {
			hogs.Go(func() {
				block(nap)
				time.Sleep(calm)
				stalled.CompareAndSwap(0, int64(time.Since(began)))
				hog(&lock)
			})
		}
		time.Sleep(margin)
		var ticks []time.Duration
		others.Go(func() {
			for !over.Load() {
				ticks = append(ticks, time.Since(began))
				time.Sleep(tick)
			}
			ticks = append(ticks, time.Since(began))
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		check(err == nil)
		others.Go(func() {
			if conn, err := listener.Accept(); err == nil {
				serve(conn)
			}
		})
		client := startClient(listener.Addr().String(), began)
		time.Sleep(nap + calm + stalls - time.Since(began))
		lock.Unlock()
		hogs.Wait()
		time.Sleep(margin)
		over.Store(true)
		answers := client()
		others.Wait()
		ticker := largestGap(ticks, time.Duration(stalled.Load()))
		echo := largestGap(answers, time.Duration(stalled.Load()))
		result("ticker_ms", ticker)
		result("echo_ms", echo)
		result("gap_ms", max(ticker, echo))
	}
}

// startClient starts this program as the client of the echo: a process of its own, because Go has no threads besides those of its
// goroutines. The function that it returns ends the client and gives the times of its answers since began.
func startClient(address string, began time.Time) (end func() []time.Duration) {
	client := exec.Command(os.Args[0], "ask", "1", "1", address)
	client.Stderr = os.Stderr
	stop, err := client.StdinPipe()
	check(err == nil)
	var answers bytes.Buffer
	client.Stdout = &answers
	check(client.Start() == nil)
	return func() (since []time.Duration) {
		stop.Close()
		check(client.Wait() == nil)
		for line := range strings.Lines(answers.String()) {
			nanos, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			check(err == nil)
			since = append(since, time.Duration(nanos-began.UnixNano()))
		}
		return since
	}
}

// ask sends a byte every millisecond until its input ends, then prints when the answers came.
func ask(setup) {
	conn, err := net.Dial("tcp", os.Args[4])
	check(err == nil)
	var over atomic.Bool
	go func() {
		os.Stdin.Read(make([]byte, 1))
		over.Store(true)
	}()
	var answers []int64
	for message := []byte{'?'}; !over.Load(); time.Sleep(tick) {
		_, err := conn.Write(message)
		check(err == nil)
		_, err = conn.Read(message)
		check(err == nil)
		answers = append(answers, time.Now().UnixNano())
	}
	for _, nanos := range answers {
		fmt.Println(nanos)
	}
}

// block lets the thread sleep, unseen by Go's own timers. Go's preemption signals cut a sleep short, so it goes on.
func block(d time.Duration) {
	rest := syscall.NsecToTimespec(int64(d))
	for syscall.Nanosleep(&rest, &rest) == syscall.EINTR {
	}
}

// spin computes until d has passed on the wall.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
		sink += multiply(5000)
	}
}

// largestGap is the longest time between two turns, of those that ended after from, in milliseconds.
func largestGap(turns []time.Duration, from time.Duration) float64 {
	var largest time.Duration
	for i := 1; i < len(turns); i++ {
		if turns[i] > from {
			largest = max(largest, turns[i]-turns[i-1])
		}
	}
	return milliseconds(largest)
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// site starts a handler that blocks for 20 ms, perSecond times a second, beside a ticker: src/workload/site.rs.
func site(perSecond int) func(setup) {
	return func(s setup) {
		seconds := 2
		if s.scale < 0.5 {
			seconds = 1
		}
		var over atomic.Bool
		ticks := make(chan []float64)
		go func() { ticks <- tickUntil(&over) }()
		time.Sleep(50 * time.Millisecond)
		late := serveSite(seconds*perSecond, perSecond)
		time.Sleep(50 * time.Millisecond)
		over.Store(true)
		gaps := <-ticks
		result("gap_p50_ms", quantile(gaps, 0.5))
		result("gap_p99_ms", quantile(gaps, 0.99))
		result("gap_max_ms", quantile(gaps, 1))
		result("start_p50_ms", quantile(late, 0.5))
		result("start_p99_ms", quantile(late, 0.99))
		threads, err := os.ReadDir("/proc/self/task")
		check(err == nil)
		result("threads", float64(len(threads)))
	}
}

func tickUntil(over *atomic.Bool) (gaps []float64) {
	last := time.Now()
	for !over.Load() {
		time.Sleep(tick)
		now := time.Now()
		gaps = append(gaps, milliseconds(now.Sub(last)))
		last = now
	}
	return gaps
}

func serveSite(handlers, perSecond int) (late []float64) {
	var lock sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	for i := range handlers {
		due := began.Add(time.Second / time.Duration(perSecond) * time.Duration(i+1))
		time.Sleep(time.Until(due))
		all.Go(func() {
			lateness := milliseconds(time.Since(due))
			lock.Lock()
			late = append(late, lateness)
			lock.Unlock()
			block(20 * time.Millisecond)
		})
	}
	all.Wait()
	return late
}
