package main

import "sync"

// count locks, adds one and unlocks in each of so many goroutines.
func count(goroutines, each int) int {
	var mutex sync.Mutex
	var all sync.WaitGroup
	sum := 0
	for range goroutines {
		all.Go(func() {
			for range each {
				mutex.Lock()
				sum++
				mutex.Unlock()
			}
		})
	}
	all.Wait()
	check(sum == goroutines*each)
	return sum
}

func answers(n int) int {
	for i := range n {
		answer := make(chan int, 1)
		go func() { answer <- i }()
		check(<-answer == i)
	}
	return n
}
