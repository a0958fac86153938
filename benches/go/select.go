package main

// Go's select has its cases in the text.

func select2(n int) int {
	c := makeChannels(2, false)
	go sendTo(c, n)
	sum := 0
	for range n {
		select {
		case i := <-c[0]:
			sum += i
		case i := <-c[1]:
			sum += i
		}
	}
	check(sum == n*(n-1)/2)
	return n
}

func selectReady2(n int) int {
	c := makeChannels(2, true)
	for range n {
		select {
		case <-c[0]:
			c[0] <- 0
		case <-c[1]:
			c[1] <- 0
		}
	}
	return n
}

func select8(n int) int {
	c := makeChannels(8, false)
	go sendTo(c, n)
	sum := 0
	for range n {
		select {
		case i := <-c[0]:
			sum += i
		case i := <-c[1]:
			sum += i
		case i := <-c[2]:
			sum += i
		case i := <-c[3]:
			sum += i
		case i := <-c[4]:
			sum += i
		case i := <-c[5]:
			sum += i
		case i := <-c[6]:
			sum += i
		case i := <-c[7]:
			sum += i
		}
	}
	check(sum == n*(n-1)/2)
	return n
}

func selectReady8(n int) int {
	c := makeChannels(8, true)
	for range n {
		select {
		case <-c[0]:
			c[0] <- 0
		case <-c[1]:
			c[1] <- 0
		case <-c[2]:
			c[2] <- 0
		case <-c[3]:
			c[3] <- 0
		case <-c[4]:
			c[4] <- 0
		case <-c[5]:
			c[5] <- 0
		case <-c[6]:
			c[6] <- 0
		case <-c[7]:
			c[7] <- 0
		}
	}
	return n
}

func select64(n int) int {
	c := makeChannels(64, false)
	go sendTo(c, n)
	sum := 0
	for range n {
		select {
		case i := <-c[0]:
			sum += i
		case i := <-c[1]:
			sum += i
		case i := <-c[2]:
			sum += i
		case i := <-c[3]:
			sum += i
		case i := <-c[4]:
			sum += i
		case i := <-c[5]:
			sum += i
		case i := <-c[6]:
			sum += i
		case i := <-c[7]:
			sum += i
		case i := <-c[8]:
			sum += i
		case i := <-c[9]:
			sum += i
		case i := <-c[10]:
			sum += i
		case i := <-c[11]:
			sum += i
		case i := <-c[12]:
			sum += i
		case i := <-c[13]:
			sum += i
		case i := <-c[14]:
			sum += i
		case i := <-c[15]:
			sum += i
		case i := <-c[16]:
			sum += i
		case i := <-c[17]:
			sum += i
		case i := <-c[18]:
			sum += i
		case i := <-c[19]:
			sum += i
		case i := <-c[20]:
			sum += i
		case i := <-c[21]:
			sum += i
		case i := <-c[22]:
			sum += i
		case i := <-c[23]:
			sum += i
		case i := <-c[24]:
			sum += i
		case i := <-c[25]:
			sum += i
		case i := <-c[26]:
			sum += i
		case i := <-c[27]:
			sum += i
		case i := <-c[28]:
			sum += i
		case i := <-c[29]:
			sum += i
		case i := <-c[30]:
			sum += i
		case i := <-c[31]:
			sum += i
		case i := <-c[32]:
			sum += i
		case i := <-c[33]:
			sum += i
		case i := <-c[34]:
			sum += i
		case i := <-c[35]:
			sum += i
		case i := <-c[36]:
			sum += i
		case i := <-c[37]:
			sum += i
		case i := <-c[38]:
			sum += i
		case i := <-c[39]:
			sum += i
		case i := <-c[40]:
			sum += i
		case i := <-c[41]:
			sum += i
		case i := <-c[42]:
			sum += i
		case i := <-c[43]:
			sum += i
		case i := <-c[44]:
			sum += i
		case i := <-c[45]:
			sum += i
		case i := <-c[46]:
			sum += i
		case i := <-c[47]:
			sum += i
		case i := <-c[48]:
			sum += i
		case i := <-c[49]:
			sum += i
		case i := <-c[50]:
			sum += i
		case i := <-c[51]:
			sum += i
		case i := <-c[52]:
			sum += i
		case i := <-c[53]:
			sum += i
		case i := <-c[54]:
			sum += i
		case i := <-c[55]:
			sum += i
		case i := <-c[56]:
			sum += i
		case i := <-c[57]:
			sum += i
		case i := <-c[58]:
			sum += i
		case i := <-c[59]:
			sum += i
		case i := <-c[60]:
			sum += i
		case i := <-c[61]:
			sum += i
		case i := <-c[62]:
			sum += i
		case i := <-c[63]:
			sum += i
		}
	}
	check(sum == n*(n-1)/2)
	return n
}

func selectReady64(n int) int {
	c := makeChannels(64, true)
	for range n {
		select {
		case <-c[0]:
			c[0] <- 0
		case <-c[1]:
			c[1] <- 0
		case <-c[2]:
			c[2] <- 0
		case <-c[3]:
			c[3] <- 0
		case <-c[4]:
			c[4] <- 0
		case <-c[5]:
			c[5] <- 0
		case <-c[6]:
			c[6] <- 0
		case <-c[7]:
			c[7] <- 0
		case <-c[8]:
			c[8] <- 0
		case <-c[9]:
			c[9] <- 0
		case <-c[10]:
			c[10] <- 0
		case <-c[11]:
			c[11] <- 0
		case <-c[12]:
			c[12] <- 0
		case <-c[13]:
			c[13] <- 0
		case <-c[14]:
			c[14] <- 0
		case <-c[15]:
			c[15] <- 0
		case <-c[16]:
			c[16] <- 0
		case <-c[17]:
			c[17] <- 0
		case <-c[18]:
			c[18] <- 0
		case <-c[19]:
			c[19] <- 0
		case <-c[20]:
			c[20] <- 0
		case <-c[21]:
			c[21] <- 0
		case <-c[22]:
			c[22] <- 0
		case <-c[23]:
			c[23] <- 0
		case <-c[24]:
			c[24] <- 0
		case <-c[25]:
			c[25] <- 0
		case <-c[26]:
			c[26] <- 0
		case <-c[27]:
			c[27] <- 0
		case <-c[28]:
			c[28] <- 0
		case <-c[29]:
			c[29] <- 0
		case <-c[30]:
			c[30] <- 0
		case <-c[31]:
			c[31] <- 0
		case <-c[32]:
			c[32] <- 0
		case <-c[33]:
			c[33] <- 0
		case <-c[34]:
			c[34] <- 0
		case <-c[35]:
			c[35] <- 0
		case <-c[36]:
			c[36] <- 0
		case <-c[37]:
			c[37] <- 0
		case <-c[38]:
			c[38] <- 0
		case <-c[39]:
			c[39] <- 0
		case <-c[40]:
			c[40] <- 0
		case <-c[41]:
			c[41] <- 0
		case <-c[42]:
			c[42] <- 0
		case <-c[43]:
			c[43] <- 0
		case <-c[44]:
			c[44] <- 0
		case <-c[45]:
			c[45] <- 0
		case <-c[46]:
			c[46] <- 0
		case <-c[47]:
			c[47] <- 0
		case <-c[48]:
			c[48] <- 0
		case <-c[49]:
			c[49] <- 0
		case <-c[50]:
			c[50] <- 0
		case <-c[51]:
			c[51] <- 0
		case <-c[52]:
			c[52] <- 0
		case <-c[53]:
			c[53] <- 0
		case <-c[54]:
			c[54] <- 0
		case <-c[55]:
			c[55] <- 0
		case <-c[56]:
			c[56] <- 0
		case <-c[57]:
			c[57] <- 0
		case <-c[58]:
			c[58] <- 0
		case <-c[59]:
			c[59] <- 0
		case <-c[60]:
			c[60] <- 0
		case <-c[61]:
			c[61] <- 0
		case <-c[62]:
			c[62] <- 0
		case <-c[63]:
			c[63] <- 0
		}
	}
	return n
}
