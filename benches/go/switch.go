package main

import (
	"runtime"
	"sync"
	"time"
)

func yields(goroutines, each int) int {
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				runtime.Gosched()
			}
		})
	}
	all.Wait()
	return goroutines * each
}

// ball is a message that carries the way back.
type ball chan ball

func oneshotPingPong(n int) int {
	racket := make(ball, 1)
	done := make(chan struct{}, 1)
	go returnBalls(racket, done)
	for range n {
		next := make(ball, 1)
		racket <- next
		racket = <-next
	}
	racket <- nil
	<-done
	return n
}

func returnBalls(incoming ball, done chan<- struct{}) {
	for back := <-incoming; back != nil; back = <-incoming {
		incoming = make(ball, 1)
		back <- incoming
	}
	done <- struct{}{}
}

func slotPingPong(n int) int {
	return roundTrips(n, func() {})
}

func signal(n int) int {
	return roundTrips(n, func() { compute(20 * time.Microsecond) })
}

func roundTrips(n int, work func()) int {
	there, back := make(chan int, 1), make(chan int, 1)
	go func() {
		for range n {
			i := <-there
			work()
			back <- i
		}
	}()
	for i := range n {
		there <- i
		work()
		check(<-back == i)
	}
	return n
}

// The steps of compute are counted against the clock in the fastest of many short trials, as in src/work.rs.
var stepsPerMicrosecond = calibrate()

var sink uint64

func compute(d time.Duration) {
	multiply(int(d) * stepsPerMicrosecond / 1000)
}

func calibrate() int {
	const steps = 20_000
	fastest := time.Hour
	for range 50 {
		start := time.Now()
		sink += multiply(steps)
		fastest = min(fastest, time.Since(start))
	}
	return steps * 1000 / int(fastest)
}

//go:noinline
func multiply(steps int) uint64 {
	x := uint64(1)
	for range steps {
		x = x*6364136223846793005 + 1
	}
	return x
}
