package main

import "sync"

// chanRoom is how many values fit into the channel of a stream, chanCrowd how many send and receive in the crowded one.
const (
	chanRoom  = 128
	chanCrowd = 4
)

func chanPingPong(n int) int {
	there, back := make(chan int), make(chan int)
	var partner sync.WaitGroup
	partner.Go(func() {
		for i := range there {
			back <- i
		}
	})
	for i := range n {
		there <- i
		check(<-back == i)
	}
	close(there)
	partner.Wait()
	return n
}

func chanOneToOne(n int) int {
	values := make(chan int, chanRoom)
	go func() {
		for i := range n {
			values <- i
		}
		close(values)
	}()
	sum := 0
	for i := range values {
		sum += i
	}
	check(sum == n*(n-1)/2)
	return n
}

func chanFourToFour(n int) int {
	values := make(chan int, chanRoom)
	sums := make(chan int, chanCrowd)
	share := n / chanCrowd
	var senders sync.WaitGroup
	for range chanCrowd {
		senders.Go(func() {
			for i := range share {
				values <- i
			}
		})
		go func() {
			sum := 0
			for i := range values {
				sum += i
			}
			sums <- sum
		}()
	}
	senders.Wait()
	close(values)
	sum := 0
	for range chanCrowd {
		sum += <-sums
	}
	check(sum == chanCrowd*share*(share-1)/2)
	return chanCrowd * share
}

// sendTo sends n numbers to the channels, in the order of src/workload/select.rs.
func sendTo(channels []chan int, n int) {
	x := uint64(1)
	for i := range n {
		x = x*6364136223846793005 + 1442695040888963407
		channels[int(x>>33)%len(channels)] <- i
	}
}

func makeChannels(n int, full bool) []chan int {
	channels := make([]chan int, n)
	for i := range channels {
		channels[i] = make(chan int, 1)
		if full {
			channels[i] <- 0
		}
	}
	return channels
}
