package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const batch = 1000

// spawnJoin starts a thousand goroutines at a time and receives each one's result.
func spawnJoin(n int) int {
	return spawnJoinBatches(n, func() {})
}

func spawnJoinWorking(n int) int {
	return spawnJoinBatches(n, func() { compute(time.Microsecond) })
}

// The results come through one channel per batch: Go has no join handle, and a channel per goroutine would cost more.
func spawnJoinBatches(n int, work func()) int {
	results := make(chan int, batch)
	sum := 0
	for range n / batch {
		for i := range batch {
			go func() {
				work()
				results <- i
			}()
		}
		for range batch {
			sum += <-results
		}
	}
	check(sum == n/batch*(batch*(batch-1)/2))
	return n / batch * batch
}

func skynet(s setup) {
	leaves := 1_000_000
	if s.scale < 0.5 {
		leaves = 100_000
	}
	skynetTree(leaves / 10)
	w := start()
	skynetTree(leaves)
	w.perOp(leaves)
	units := 0
	for level := leaves; level > 0; level /= 10 {
		units += level
	}
	result("peak_mib", float64(usage().Maxrss)/1024)
	result("units", float64(units))
}

func skynetTree(leaves int) {
	sum := make(chan int, 1)
	go skynetNode(sum, 0, leaves)
	check(<-sum == leaves*(leaves-1)/2)
}

func skynetNode(parent chan<- int, first, leaves int) {
	if leaves == 1 {
		parent <- first
		return
	}
	children := make(chan int, 10)
	share := leaves / 10
	for i := range 10 {
		go skynetNode(children, first+i*share, share)
	}
	sum := 0
	for range 10 {
		sum += <-children
	}
	parent <- sum
}

func chainedSpawn(n int) int {
	const length = 1000
	for range n / length {
		end := make(chan struct{}, 1)
		link(end, length-1)
		<-end
	}
	return n / length * length
}

func link(end chan<- struct{}, rest int) {
	go func() {
		if rest == 0 {
			end <- struct{}{}
		} else {
			link(end, rest-1)
		}
	}()
}

func fork2(n int) int {
	for range n {
		done := make(chan struct{}, 1)
		go func() {
			compute(5 * time.Microsecond)
			done <- struct{}{}
		}()
		compute(5 * time.Microsecond)
		<-done
	}
	return n
}

func spawnManyLocal(n int) int {
	return spawnMany(n, 10_000)
}

// spawnMany starts round goroutines at a time; the last one to end reports. Go knows no foreign threads, so the remote
// workloads start theirs from main.
func spawnMany(n, round int) int {
	rounds := (n + round - 1) / round
	for range rounds {
		var left atomic.Int64
		left.Store(int64(round))
		zero := make(chan struct{}, 1)
		for range round {
			go func() {
				if left.Add(-1) == 0 {
					zero <- struct{}{}
				}
			}()
		}
		<-zero
	}
	return rounds * round
}

func spawnManyBusyYielding(s setup) {
	var end atomic.Bool
	var busy sync.WaitGroup
	for range 2 * s.procs {
		busy.Go(func() {
			for !end.Load() {
				runtime.Gosched()
				stall()
			}
		})
	}
	perOp(2_000, func(n int) int { return spawnMany(n, 1000) })(s)
	end.Store(true)
	busy.Wait()
}

func spawnManyBusySpawning(s setup) {
	var end atomic.Bool
	var next func()
	next = func() {
		if !end.Load() {
			stall()
			go next()
		}
	}
	for range s.procs {
		go next()
	}
	perOp(2_000, func(n int) int { return spawnMany(n, 1000) })(s)
	end.Store(true)
}

func stall() {
	start := time.Now()
	for time.Since(start) < 10*time.Microsecond {
	}
}

func pingPong(n int) int {
	const pairs = 1000
	for range n / pairs {
		var left atomic.Int64
		left.Store(pairs)
		zero := make(chan struct{}, 1)
		for range pairs {
			go func() {
				there, back := make(chan struct{}, 1), make(chan struct{}, 1)
				go func() {
					<-there
					back <- struct{}{}
				}()
				there <- struct{}{}
				<-back
				if left.Add(-1) == 0 {
					zero <- struct{}{}
				}
			}()
		}
		<-zero
	}
	return n / pairs * pairs
}

func check(ok bool) {
	if !ok {
		panic("wrong result")
	}
}
